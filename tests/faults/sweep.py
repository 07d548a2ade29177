"""Every call by which a command changes its folder, failing, cut short or the last of the process.

`python -m tests.faults.sweep` goes through all of them, prints what came of it, and exits with 1
where anything was wrong. What has to hold after a fault is in `_Trial`.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

from faults.children import DOCUMENTED, Children, Outcome, children, work_folder
from faults.preload import FAULTS, Plan
from faults.problems import (
    GROW,
    OTHER,
    STACK,
    TRAIN,
    UP_DOWN,
    has_lost_filters,
    held,
    logged,
    parts_of,
    write_data,
)

Words = Sequence[str]


@dataclass(frozen=True)
class Scenario:
    """A command, and what stands in its folder before.

    before: makes that, from a folder with data; see `_prepare`. output: the file that the command
    writes. onward: of a run file, how to go on after a fault; where the file is the old one still,
    or there is none, it is the same command. log: the metrics log, if there is one.
    """

    words: Words
    output: str
    before: tuple[str, ...] = ()
    onward: Words | None = None
    log: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether the output is a run file that is written again and again."""
        return self.onward is not None


def _resumed(words: Words) -> Words:
    return (*words, "--resume", "--max-time", "1h")


def _output(words: str, output: str, before: str = "finished") -> Scenario:
    return Scenario((*words.split(), "-o", output, "--quiet"), output, (before,))


_LOGGED = (*TRAIN, "--metrics", "log.jsonl")

SCENARIOS = {
    "train": Scenario(TRAIN, "run.h5", (), _resumed(TRAIN)),
    "train-force": Scenario((*TRAIN, "--force"), "run.h5", ("other",), _resumed(TRAIN)),
    "resume-stopped": Scenario(_resumed(TRAIN), "run.h5", ("stopped",), _resumed(TRAIN)),
    "resume-killed": Scenario(_resumed(TRAIN), "run.h5", ("killed",), _resumed(TRAIN)),
    "resume-finished": Scenario(
        _resumed((*TRAIN, "--epochs", "5")),
        *("run.h5", ("finished",), _resumed((*TRAIN, "--epochs", "5"))),
    ),
    "train-metrics": Scenario(_LOGGED, "run.h5", (), _resumed(_LOGGED), "log.jsonl"),
    "stack": Scenario(STACK, "run.h5", (), _resumed(STACK)),
    "stack-up-down": Scenario(UP_DOWN, "run.h5", (), _resumed(UP_DOWN)),
    "grow": Scenario(GROW, "run.h5", ("finished",), ("stack", *_resumed(GROW[-9:]))),
    "sample-npz": _output("sample run.h5 -n 20 -k 2 --threads 1", "o.npz"),
    "sample-h5": _output("sample run.h5 -n 20 -k 2 --threads 1", "o.h5"),
    "sample-png": _output("sample run.h5 -n 20 -k 2 --threads 1", "o.png"),
    "sample-gif": _output("sample run.h5 -n 4 -k 2 --threads 1", "o.gif"),
    "sample-webp": _output("sample run.h5 -n 4 -k 2 --threads 1", "o.webp"),
    "sample-mp4": _output("sample run.h5 -n 4 -k 2 --threads 1", "o.mp4"),
    "features-npz": _output("features run.h5 images.npy --threads 1", "o.npz"),
    "features-h5": _output("features run.h5 images.npy --threads 1", "o.h5"),
    "export-npz": _output("export run.h5", "o.npz"),
    "export-safetensors": _output("export run.h5", "o.safetensors"),
    "export-force": Scenario(
        ("export", "run.h5", "-o", "o.npz", "--force", "--quiet"), "o.npz", ("finished", "exported")
    ),
    "import": _output("import weights.npz", "o.h5", "weights"),
    "import-stack": _output("import weights.npz", "o.h5", "stack-weights"),
    "render-gif": _output("render-gif run.h5", "o.gif"),
    "render-png": _output("render-gif run.h5", "o.png"),
    "render-webp": _output("render-gif run.h5", "o.webp"),
    "render-mp4": _output("render-gif run.h5", "o.mp4"),
}

#: What makes a folder ready, by the names in `Scenario.before`.
_EXPORT = ("export", "run.h5", "--quiet", "-o")


def _prepare(forking: Children, folder: Path, steps: Iterable[str]) -> None:
    folder.mkdir()
    write_data(folder)
    for step in steps:
        match step:
            case "finished":
                forking.must(*TRAIN, cwd=folder)
            case "other":
                forking.must(*OTHER, cwd=folder)
            case "stopped":
                forking.must(*TRAIN, "--max-time", "1e-6s", cwd=folder, status=75)
            case "killed":
                forking.kill_at_replacement(4, *TRAIN, cwd=folder)
            case "exported":
                forking.must("export", "run.h5", "-o", "o.npz", "--quiet", cwd=folder)
                with (folder / "o.npz").open("ab") as file:
                    file.write(b"an old one")
            case "weights" | "stack-weights":
                forking.must(*(TRAIN if step == "weights" else UP_DOWN), cwd=folder)
                forking.must(*_EXPORT, "weights.npz", cwd=folder)
                (folder / "run.h5").unlink()


@dataclass
class Result:
    """What came of one fault at many calls of one scenario.

    calls: how many the fault may happen to. failures: (what was wrong, the call, more).
    """

    scenario: str
    fault: str
    calls: int = 0
    trials: int = 0
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def summary(self) -> list[str]:
        """What was wrong, each once, with how often and an example."""
        kinds = Counter(kind for kind, *_ in self.failures)
        examples = {kind: (call, more) for kind, call, more in reversed(self.failures)}
        return [
            f"{count} x {kind}: at {examples[kind][0]}: {examples[kind][1]}"
            for kind, count in kinds.items()
        ]


@dataclass
class Sweep:
    """The faults of one scenario: its folder, and how the command goes undisturbed."""

    forking: Children
    name: str
    base: Path

    def __post_init__(self) -> None:
        """Run the command undisturbed, and note its calls."""
        self.scenario = SCENARIOS[self.name]
        self.pristine = self.base / f"{self.name}-before"
        _prepare(self.forking, self.pristine, self.scenario.before)
        self.before = _names(self.pristine)
        folder, log = self.fresh(), self.base / "calls"
        log.unlink(missing_ok=True)
        plan = Plan(str(folder), log=str(log))
        done = self.forking.must(*self.scenario.words, cwd=folder, plan=plan)
        if done.out or done.err:
            raise RuntimeError(f"{self.name}: undisturbed, it says {done}")
        self.calls = log.read_text().splitlines()
        self.after = _names(folder)
        self.old = self.state(self.pristine)
        self.whole = self.state(folder)
        self.epochs = self.logged_epochs(folder)

    def fresh(self) -> Path:
        """A folder as it is before the command."""
        folder = self.base / "trial"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.pristine, folder)
        return folder

    def state(self, folder: Path) -> Any:
        """What the output is, to be compared; None where there is none."""
        path = folder / self.scenario.output
        if not path.exists():
            return None
        is_run_file = self.scenario.is_run or self.name.startswith("import")
        return held(path) if is_run_file else path.read_bytes()

    def logged_epochs(self, folder: Path) -> list[Any] | None:
        """The epochs in the metrics log, if the scenario has one."""
        if self.scenario.log is None:
            return None
        return [row["epoch"] for row in logged(folder / self.scenario.log)]

    def run(self, fault: str, *, stride: int = 1, most: int | None = None) -> Result:
        """Let the fault happen at calls of its kinds.

        stride: take every so many of them. most: at most so many trials, spread over calls that
        differ: of a row of writes to one file, only the first and the last.
        """
        kinds = FAULTS[fault].kinds
        places = [n for n, call in enumerate(self.calls, 1) if call[0] in kinds]
        result = Result(self.name, fault, len(places))
        chosen = places[::stride]
        if most is not None:
            chosen = _spread(_edges(self.calls, set(places)), most)
        for place in chosen:
            result.trials += 1
            result.failures += _Trial(self, fault, place).failures
        return result


@dataclass
class _Trial:
    """A fault at one call: what it leaves, and where going on from there leads."""

    sweep: Sweep
    fault: str
    place: int
    failures: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        sweep = self.sweep
        self.call = sweep.calls[self.place - 1]
        self.folder = sweep.fresh()
        plan = Plan(str(self.folder), self.place, self.fault)
        done = sweep.forking.run(*sweep.scenario.words, cwd=self.folder, plan=plan)
        kills = FAULTS[self.fault].kills
        if done.hung:
            self.wrong("hang", "60 s")
            return
        if kills and done.status != -9:
            self.wrong("not killed", f"{done}")
        if not kills:
            self.check_words(done)
        self.check_output(failed=done.status != 0)
        if not kills and done.status:
            self.check_strays()
        self.go_on(done)

    def wrong(self, kind: str, more: object) -> None:
        """Note a failure."""
        said = str(more).replace(f"{self.sweep.base}/", "")[:600]
        call = re.sub(r"\.\d+\.tmp", ".PID.tmp", self.call)
        self.failures.append((kind, f"{self.place} {call}", said))

    def check_words(self, done: Outcome) -> None:
        """A documented status, and one line where it is not 0."""
        if done.status not in DOCUMENTED:
            self.wrong("undocumented status", f"{done.status}: {done.err}")
        if done.traceback:
            self.wrong("traceback", done.traceback)
        elif done.status == 1 and done.refusal is None:
            self.wrong("not one line", repr(done.err))
        elif done.status == 0 and self.fault == "partial" and done.err:
            self.wrong("noise", repr(done.err))
        if done.status and self.fault == "partial":
            self.wrong("a short write is not gone on with", done.err)

    def check_output(self, *, failed: bool) -> None:
        """Under the final name is nothing, what was there before, or something whole."""
        sweep, path = self.sweep, self.folder / self.sweep.scenario.output
        for name in sweep.before - {sweep.scenario.output} - _names(self.folder):
            if not name.startswith(f"{sweep.scenario.output}."):
                self.wrong("a file is lost", name)
        try:
            state = sweep.state(self.folder)
        except Exception as error:
            self.wrong("does not open", repr(error))
            return
        if state is None:
            if sweep.old is not None:
                self.wrong("the old file is lost", sorted(_names(self.folder)))
            return
        if not failed and state != sweep.whole:
            self.wrong("status 0, but the output is not whole", _difference(state, sweep.whole))
        if failed and not sweep.scenario.is_run and state not in (sweep.old, sweep.whole):
            self.wrong("half an output", _difference(state, sweep.whole))
        if sweep.scenario.is_run and has_lost_filters(path):
            self.wrong("filters are lost", sorted(_names(self.folder)))

    def check_strays(self) -> None:
        """After a failure nothing else is left, unless it could not be removed."""
        fault, scenario = FAULTS[self.fault], self.sweep.scenario
        path = self.folder / scenario.output
        allowed = self.sweep.before | {scenario.output, scenario.log}
        if self.call[0] == "U":
            allowed |= {self.call[2:]}
        if scenario.is_run and path.exists():
            allowed |= parts_of(path)
        if fault.sticky and "U" in fault.kinds:  # nothing can be removed
            return
        if strays := _names(self.folder) - allowed:
            self.wrong("strays", sorted(strays))

    def go_on(self, done: Outcome) -> None:
        """Without faults all comes to the end it ought to have, and nothing else is left."""
        sweep, scenario = self.sweep, self.sweep.scenario
        try:
            state = sweep.state(self.folder)
        except Exception:
            return  # reported already
        words = scenario.words
        if scenario.onward is not None and state != sweep.old:
            words = scenario.onward
        if scenario.is_run or state in (None, sweep.old):
            again = sweep.forking.run(*words, cwd=self.folder)
            if again.status or again.err or again.out:
                self.wrong("going on fails", f"{again.status}: {again.err}")
                return
        state = sweep.state(self.folder)
        if state != sweep.whole:
            self.wrong("going on leads elsewhere", _difference(state, sweep.whole))
        if _names(self.folder) != sweep.after:
            # What a command left that was killed at its very end, the next one clears, though it is
            # refused.
            sweep.forking.run(*words, cwd=self.folder)
        if _names(self.folder) != sweep.after:
            self.wrong("strays in the end", sorted(_names(self.folder) ^ sweep.after))
        try:
            epochs = sweep.logged_epochs(self.folder)
        except ValueError as error:
            self.wrong("the metrics log is torn", error)
            return
        if epochs != sweep.epochs:
            self.wrong("the metrics log differs", epochs)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _edges(calls: Sequence[str], places: set[int]) -> list[int]:
    """Of each row of equal calls, the places of the first and the last."""
    numbered = [(call, place) for place, call in enumerate(calls, 1) if place in places]
    found: set[int] = set()
    for _, row in groupby(numbered, key=lambda pair: pair[0]):
        row_places = [place for _, place in row]
        found |= {row_places[0], row_places[-1]}
    return sorted(found)


def _spread(places: Sequence[int], most: int) -> list[int]:
    """At most so many of the places, evenly spread."""
    if len(places) <= most:
        return list(places)
    return [places[(2 * i + 1) * len(places) // (2 * most)] for i in range(most)]


def _difference(found: Any, wanted: Any) -> str:
    """Where two states differ, in few words."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = [name for name in wanted if found.get(name) != wanted[name]]
        return f"{names[:6]} differ, {sorted(found.keys() - wanted.keys())[:6]} are more"
    sizes = [None if state is None else len(state) for state in (found, wanted)]
    return f"{sizes[0]} bytes instead of {sizes[1]}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Go through scenarios and faults; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.sweep", description=__doc__)
    parser.add_argument("--scenario", nargs="+", choices=SCENARIOS, default=list(SCENARIOS))
    parser.add_argument("--fault", nargs="+", choices=FAULTS, default=list(FAULTS))
    parser.add_argument("--stride", type=int, default=1, help="take every so many calls")
    parser.add_argument("--most", type=int, help="at most so many trials of each pair")
    options = parser.parse_args(arguments)
    print(f"{'scenario':20}{'fault':16}{'calls':>7}{'trials':>8}{'failures':>10}", flush=True)
    totals, failed = Counter[str](), []
    with work_folder() as base, children(base, faults=True) as forking:
        for name in options.scenario:
            sweep = Sweep(forking, name, base)
            for fault in options.fault:
                result = sweep.run(fault, stride=options.stride, most=options.most)
                failures = len(result.failures)
                print(
                    f"{name:20}{fault:16}{result.calls:7}{result.trials:8}{failures:10}",
                    flush=True,
                )
                totals.update(trials=result.trials, failures=failures)
                failed += [(name, fault, line) for line in result.summary()]
    print(f"{'all':36}{'':7}{totals['trials']:8}{totals['failures']:10}")
    for name, fault, line in failed:
        print(f"\n{name}, {fault}: {line}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
