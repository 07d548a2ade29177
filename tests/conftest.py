"""Fixtures that several test files share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

# Tests run more threads than there may be cores: those that wait had better sleep. Read when the
# OpenMP runtime is loaded, with the kernels.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from rbmcli import _kernels

# The command leaves alone what is ignored when it starts, as under nohup; its tests are not to.
for _number in (signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell has it that says `make test &`
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _available(name: str) -> bool:
    before = _kernels.isa()
    try:
        _kernels.use_isa(name)
    except ValueError:
        return False
    _kernels.use_isa(before)
    return True


@pytest.fixture(autouse=True)
def _kernel_settings() -> Iterator[None]:
    """Leave the instruction set and the number of threads as they were found."""
    isa, threads = _kernels.isa(), _kernels.threads()
    yield
    _kernels.share_from(_kernels.WORTH_SHARING)
    _kernels.use_isa(isa)
    _kernels.set_threads(threads)


@pytest.fixture(params=[name for name in ("baseline", "avx2", "avx512") if _available(name)])
def isa(request: pytest.FixtureRequest, _kernel_settings: None) -> str:
    """Every instruction set that this machine has, in use for the test."""
    _kernels.use_isa(request.param)
    return request.param


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest, _kernel_settings: None) -> int:
    """Several numbers of threads, in use for the test, by the smallest kernels as well."""
    _kernels.set_threads(request.param)
    _kernels.share_from(0)
    return request.param


@pytest.fixture
def shared_out(_kernel_settings: None) -> None:
    """The smallest kernels are shared out as well, where there are threads."""
    _kernels.share_from(0)
