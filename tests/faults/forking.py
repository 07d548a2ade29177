"""The process that children are forked from: it has everything imported, so they start at once.

`python -m faults.forking [LIBRARY]` reads requests and writes replies, a line of JSON each. It has
one child at a time. `children.py` is the other end, and says what a request holds.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import importlib
import json
import os
import pkgutil
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from faults.preload import Plan, Preloaded

#: Modules that commands import when they need them.
_LATE = (
    "h5py",
    "imageio_ffmpeg",
    "pooch",
    "requests",
    "rich.progress",
    "safetensors.numpy",
    "tomli_w",
    "zipfile",
)

#: Of what a child prints, so many bytes of the beginning and of the end are handed on.
_MOST_PRINTED = 20_000

#: prctl: orphans of a killed child (an encoder) become children of this process, to wait for.
_PR_SET_CHILD_SUBREAPER = 36


def import_everything() -> None:
    """All of the package, and what it imports late."""
    package = importlib.import_module("rbmcli")
    for found in pkgutil.walk_packages(package.__path__, "rbmcli."):
        if not found.name.endswith("__main__"):
            importlib.import_module(found.name)
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("PIL.Image").init()
    importlib.import_module("faults.acts")


def _peak() -> int:
    """The most bytes of memory that this process has used since `_forget_peak`."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _printed(file: int) -> str:
    size = os.fstat(file).st_size
    content = os.pread(file, min(size, _MOST_PRINTED), 0)
    if (more := size - len(content)) > 0:
        content += os.pread(file, min(more, _MOST_PRINTED), size - min(more, _MOST_PRINTED))
    return content.decode(errors="backslashreplace")


def _nameless() -> int:
    """A descriptor of an empty file that nobody else knows of."""
    descriptor, name = tempfile.mkstemp()
    os.unlink(name)
    return descriptor


class _Child:
    """A forked process that does jobs one after another, and what is known of it here."""

    def __init__(self, request: dict[str, Any], preloaded: Preloaded | None) -> None:
        self.jobs: list[list[str]] = request["jobs"]
        self.out, self.err = _nameless(), _nameless()
        self.reports, there = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            self._live(request, preloaded, there)
        os.close(there)

    def _live(self, request: dict[str, Any], preloaded: Preloaded | None, reports: int) -> None:
        """What the child does; it does not return."""
        status = 1
        try:
            os.setsid()
            os.chdir(request["cwd"])
            null = os.open(os.devnull, os.O_RDWR)
            for number, file in enumerate((null, self.out, self.err)):
                os.dup2(file, number)
            reports = os.dup2(reports, 3, inheritable=False)
            os.closerange(4, 256)
            sys.stdin = os.fdopen(0, closefd=False)
            sys.stdout = os.fdopen(1, "w", closefd=False)
            sys.stderr = os.fdopen(2, "w", closefd=False, errors="backslashreplace")
            for name, value in request["limits"].items():
                resource.setrlimit(getattr(resource, name), (value, value))
            if preloaded and request["plan"]:
                preloaded.arm(Plan(**request["plan"]))
            if preloaded and request["watch"]:
                preloaded.watch(*request["watch"])
            if len(self.jobs) == 1:
                status = _do(self.jobs[0])
            else:
                self._report_all(reports)
                status = 0
        finally:
            # As the interpreter ends: what asked to be told is told.
            with contextlib.suppress(BaseException):
                atexit._run_exitfuncs()
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status)

    def _report_all(self, reports: int) -> None:
        for job in self.jobs:
            for file in (1, 2):
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
            _forget_peak()
            began = time.monotonic()
            status = _do(job)
            sys.stdout.flush()
            sys.stderr.flush()
            told = {
                "status": status,
                "out": _printed(1),
                "err": _printed(2),
                "seconds": time.monotonic() - began,
                "peak": _peak(),
                "hung": False,
            }
            os.write(reports, json.dumps(told).encode() + b"\n")

    def wait(self, timeout: float) -> list[dict[str, Any]]:
        """What became of the jobs, up to the first that the child did not outlive."""
        told, rest, hung, began = [], b"", False, time.monotonic()
        while True:
            left = began + timeout - time.monotonic()
            if not select.select([self.reports], [], [], max(0.0, left))[0]:
                hung = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                    os.kill(self.pid, signal.SIGKILL)
                break
            if not (read := os.read(self.reports, 1 << 16)):
                break
            *lines, rest = (rest + read).split(b"\n")
            told += map(json.loads, lines)
            began = time.monotonic() if lines else began
        _, status, usage = os.wait4(self.pid, 0)
        if len(told) < len(self.jobs):
            out, err = _printed(self.out), _printed(self.err)
            code = os.waitstatus_to_exitcode(status)
            seconds = time.monotonic() - began
            peak = usage.ru_maxrss * 1024
            told.append(dict(zip(_KEYS, (code, out, err, seconds, peak, hung), strict=True)))
        self._bury()
        return told

    def _bury(self) -> None:
        """Wait for what the child left running, and close what belongs to it."""
        deadline = time.monotonic() + 10
        with contextlib.suppress(ChildProcessError):
            while time.monotonic() < deadline:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.001)
        for file in (self.reports, self.out, self.err):
            os.close(file)


_KEYS = ("status", "out", "err", "seconds", "peak", "hung")


def _do(job: list[str]) -> int:
    """A job's exit status; what it lets through is shown as the interpreter shows it."""
    from faults.acts import ACTS

    act, *words = job
    try:
        return ACTS[act](words)
    except BaseException:
        traceback.print_exc()
        return 1


def serve(library: Path | None) -> None:
    """Answer requests until there are no more."""
    requests, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(2, 1)
    import_everything()
    preloaded = None if library is None else Preloaded(library)
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child: _Child | None = None
    for line in requests:
        request = json.loads(line)
        if request["do"] == "start":
            child = _Child(request, preloaded)
            reply: Any = child.pid
        else:
            assert child is not None
            reply, child = child.wait(request["timeout"]), None
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    serve(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
