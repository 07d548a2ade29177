"""Some tests of the kernels under AddressSanitizer and UBSan; `make sanitize` runs all of them.

The core is built with the sanitizers, little optimised, which is quick; what Cython makes of the
boundary is built without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from building import ROOT, build_quickly, compiler, copy_sources, require_sanitizer

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
CHOSEN = (
    "foreign_lists or wrong_shapes or rows_of_a_replayed or list_on or bit_inputs or weigh"
    " or inputs_of_bits or what_is_not_finite or correlate_both or test_pooled_means_and_bits"
)
FILES = ("test_kernels.py", "test_convolution_kernels.py", "test_learn_kernel.py")


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory) -> tuple[Path, str]:
    """A package whose core is built with the sanitizers, and the library that must come first."""
    gcc, folder = compiler("gcc"), tmp_path_factory.mktemp("sanitized")
    require_sanitizer([gcc, *SANITIZERS], folder)
    where = [gcc, "-print-file-name=libasan.so"]
    runtime = subprocess.run(where, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("gcc has no AddressSanitizer runtime to load first")
    tree = copy_sources(folder / "tree")
    build_quickly(tree, folder, SANITIZERS)
    return tree, runtime


def run(sanitized: tuple[Path, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python with the sanitized package, from the folder of the tests."""
    tree, runtime = sanitized
    variables = {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0",  # Python's own at exit
        "PYTHONPATH": f"{tree}:{ROOT / 'tests'}",
        "PYTHONSAFEPATH": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT / "tests",
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )


def test_kernels_stay_in_their_memory(sanitized):
    options = ["-q", "-p", "no:cacheprovider", "--capture=sys", "-k", CHOSEN]
    done = run(sanitized, "-m", "pytest", *options, *FILES)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_it_would_be_seen(sanitized):
    """By the sanitizer, where the boundary has no way to know: memory that ends too early."""
    program = """
import ctypes
import numpy as np
from rbmcli import _kernels
bits = np.full((2, 1), 2**64 - 1, np.uint64)
start, index = np.zeros(3, np.uint32), np.zeros(128, np.uint32)
_kernels.list_on(bits, start, index)
library = ctypes.CDLL(_kernels.__file__)
out = np.zeros(32, np.float32)
library.rbm_weigh_listed(*(ctypes.c_void_p(a.ctypes.data) for a in (start, index)),
    ctypes.c_size_t(2), ctypes.c_void_p(out.ctypes.data), ctypes.c_size_t(32),
    ctypes.c_void_p(out.ctypes.data))
print("nothing was seen")
"""
    done = run(sanitized, "-c", program)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
