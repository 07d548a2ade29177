"""The team under ThreadSanitizer: kernels meet where they must, and it is seen where they do not.

Programs are built by clang from csrc/ and tests/race/, with threads that the sanitizer knows in the
place of libomp's.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from building import ROOT, compile_all, compiler, require_sanitizer

RACE, CSRC = ROOT / "tests" / "race", ROOT / "csrc"
FLAGS = [
    "-std=c11",
    "-D_DEFAULT_SOURCE",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-g",
    "-O1",
    "-fsanitize=thread",
]
FLAGS += ["-ffp-contract=off", f"-I{CSRC}", f"-I{RACE}"]

KERNELS = (
    *(
        "lists",
        "tables",
        "accumulate",
        "update",
        "learn",
        "values",
        "plan",
        "convolve",
        "deconvolve",
    ),
    *("correlate", "reals", "filters", "loops", "told"),
)
#: What a program built with the sanitizer ends with where it has something to say.
RED = 66


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, Path]:
    """The kernels as they are; those of which none meets; those whose meetings order nothing."""
    folder = tmp_path_factory.mktemp("race")
    clang = compiler("clang")
    require_sanitizer([clang, "-fsanitize=thread"], folder)
    plain = [RACE / "race.c", RACE / "runtime.c", RACE / "none.c"]
    plain += [
        CSRC / "states.c",
        CSRC / "plan.c",
        CSRC / "dispatch.c",
        CSRC / "target_baseline.c",
        RACE / "unmet.c",
    ]
    sources = {path: list[str]() for path in plain}
    sources |= {path: ["-fopenmp"] for path in (CSRC / "team.c", RACE / "unordered.c")}
    objects = compile_all([clang, *FLAGS], folder, sources)
    without = {
        "met": {"unmet", "unordered"},
        "unmet": {"target_baseline", "unordered"},
        "unordered": {"unmet", "team"},
    }
    for name, left_out in without.items():
        used = [str(path) for path in objects if path.stem not in left_out]
        subprocess.run([clang, "-fsanitize=thread", *used, "-o", folder / name], check=True)
    return {name: folder / name for name in without}


def race(program: Path, threads: int, times: int, *kernels: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [program, str(threads), str(times), *kernels],
        env={**os.environ, "TSAN_OPTIONS": f"halt_on_error=1:exitcode={RED}"},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("threads", [2, 3])
def test_no_kernel_races(programs, threads):
    done = race(programs["met"], threads, 20, *KERNELS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kernel", KERNELS)
def test_meetings_that_order_nothing_are_seen(programs, kernel):
    done = race(programs["unordered"], 3, 20, kernel)
    assert done.returncode == RED
    assert "data race" in done.stderr


# Not those whose threads would go different ways, and wait for each other for ever.
@pytest.mark.parametrize("kernel", ["accumulate", "update", "learn", "values"])
def test_meetings_taken_out_are_seen(programs, kernel):
    done = race(programs["unmet"], 3, 1000, kernel)
    assert done.returncode == RED
    assert "data race" in done.stderr


def test_one_thread_that_does_not_wait_is_seen(programs):
    assert race(programs["met"], 3, 20, "untold").returncode == RED
