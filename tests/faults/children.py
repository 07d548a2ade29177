"""Real processes that run `rbm`, forked in milliseconds, and what became of them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults import preload
from faults.preload import Plan

#: Exit statuses that README.md names.
DOCUMENTED = (0, 1, 2, 75)

_TESTS = Path(__file__).resolve().parent.parent
_EXCEPTION = re.compile(r"^([A-Za-z_][\w.]*)(?::|$)", re.MULTILINE)
_FRAME = re.compile(r'File "(.*?)", line (\d+), in (\S+)')


@dataclass(frozen=True)
class Outcome:
    """How a child ended.

    status: exit status, or minus the signal. peak: most bytes of memory. hung: whether it was
    ended since it took too long.
    """

    status: int
    out: str
    err: str
    seconds: float
    peak: int
    hung: bool

    @property
    def refusal(self) -> str | None:
        """The one line that says what is wrong, where that is all that standard error has.

        But for a note on the metrics log, which alone is no reason to end.
        """
        lines = [x for x in self.err.splitlines() if "; training goes on without" not in x]
        if len(lines) == 1 and lines[0].startswith("rbm: error: ") and self.err.endswith("\n"):
            return lines[0]
        return None

    @property
    def traceback(self) -> str | None:
        """The exception of a traceback, and the innermost line of the package in it."""
        if "Traceback (most recent call last)" not in self.err:
            return None
        frames = _FRAME.findall(self.err)
        own = [frame for frame in frames if "/rbmcli/" in frame[0]]
        name, line, function = (own or frames or [("?", "?", "?")])[-1]
        what = (_EXCEPTION.findall(self.err) or ["?"])[-1]
        return f"{what} at {name.rpartition('/rbmcli/')[2]}:{line} {function}"


@dataclass
class Children:
    """The other end of `forking.py`. One child at a time.

    library: preloaded into it, for plans and watches; None where there is none.
    """

    scratch: Path
    library: Path | None = None
    _process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(
        self,
        *jobs: Sequence[object],
        cwd: Path,
        plan: Plan | None = None,
        watch: tuple[Path, Path] | None = None,
        limits: Mapping[str, int] | None = None,
    ) -> int:
        """Start a child that does jobs; return its process id.

        A job is the name of one of `acts.ACTS`, then words. plan: what goes wrong. watch: a
        folder, and a log of what is opened below it. limits: names of `resource` and values.
        """
        request = {
            "do": "start",
            "jobs": [[str(word) for word in job] for job in jobs],
            "cwd": str(cwd),
            "plan": plan.to_json() if plan else None,
            "watch": [str(path) for path in watch] if watch else None,
            "limits": dict(limits or {}),
        }
        return int(self._ask(request))

    def wait(self, timeout: float = 60) -> list[Outcome]:
        """What became of the jobs, up to the first that the child did not outlive."""
        return [Outcome(**told) for told in self._ask({"do": "wait", "timeout": timeout})]

    def run(self, *words: object, cwd: Path, timeout: float = 60, **options: Any) -> Outcome:
        """Run a command line of `rbm` to its end."""
        self.start(["rbm", *words], cwd=cwd, **options)
        return self.wait(timeout)[0]

    def must(self, *words: object, cwd: Path, status: int = 0, **options: Any) -> Outcome:
        """The same for one that must end with a status; RuntimeError where it does not."""
        done = self.run(*words, cwd=cwd, **options)
        if done.status != status:
            raise RuntimeError(f"rbm {' '.join(map(str, words))}: {done}")
        return done

    def kill_at_replacement(self, number: int, *words: object, cwd: Path) -> None:
        """Run a command that is killed as it replaces run.h5 for so many times, from 1.

        It is run undisturbed in a copy of its folder before, to know which call that is.
        """
        copy, log = cwd.with_name(f"{cwd.name}-copy"), cwd.with_name(f"{cwd.name}-calls")
        shutil.copytree(cwd, copy)
        self.must(*words, cwd=copy, plan=Plan(str(copy), log=str(log)))
        calls = log.read_text().splitlines()
        places = [place for place, call in enumerate(calls, 1) if call == "R run.h5"]
        plan = Plan(str(cwd), places[number - 1], "kill")
        self.must(*words, cwd=cwd, plan=plan, status=-9)
        shutil.rmtree(copy)
        log.unlink()

    def close(self) -> None:
        """End the process that children are forked from."""
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def _ask(self, request: Mapping[str, Any]) -> Any:
        if self._process is None:
            self._process = self._begin()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        if not (reply := self._process.stdout.readline()):
            raise RuntimeError(f"the forking process ended with status {self._process.wait()}")
        return json.loads(reply)

    def _begin(self) -> subprocess.Popen[str]:
        """A process of its own, for this one may have threads already, which a fork would lose."""
        ours = {
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_WAIT_POLICY": "passive",
            # No data set is to be fetched, nor one of the user's to be found.
            "RBM_DATA_DIR": str(self.scratch / "no-data"),
            "RBM_DATA_URL": "http://127.0.0.1:9",
            "PYTHONPATH": os.pathsep.join([str(_TESTS), *filter(None, sys.path)]),
        }
        command = [sys.executable, "-m", "faults.forking"]
        if self.library is not None:
            ours["LD_PRELOAD"] = str(self.library)
            command.append(str(self.library))
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | ours,
            cwd=self.scratch,
        )


@contextmanager
def work_folder() -> Iterator[Path]:
    """An empty folder, in memory where possible: bringing to disk costs nothing there."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="rbm-faults-", dir=memory) as folder:
        yield Path(os.path.realpath(folder))


@contextmanager
def children(scratch: Path, *, faults: bool) -> Iterator[Children]:
    """Children, with the library of faults preloaded if it is needed, or can be.

    RuntimeError where it is needed and cannot be.
    """
    possible = faults or preload.why_not() is None
    forking = Children(scratch, preload.build(scratch) if possible else None)
    try:
        yield forking
    finally:
        forking.close()
