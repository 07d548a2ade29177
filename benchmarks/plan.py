"""What a training step does, operation by operation, and what of its time is outside of them.

python benchmarks/plan.py [--source NAME] [--hidden N] [--batch N] [--steps N] [--write]

Records a CD-1 step of the default options and prints its operations as a Markdown table: items that
each of an operation's loops shares out, bytes by the shapes of its arrays, and medians of
microseconds while training goes on. Then, of a training of a small machine, the share of its time
that is not in these operations: Python's, and that of waking the threads. --write puts the table
into docs/architecture.md.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.cli.train import command
from rbmcli.cli.training import new_machine, new_trainer
from rbmcli.cli.training_options import TrainOptions
from rbmcli.io.sources import open_source
from rbmcli.learning.batch import Images
from rbmcli.learning.loop import StepDone
from rbmcli.learning.trainer import Trainer

DOCUMENT = Path(__file__).parent.parent / "docs" / "architecture.md"
BEGIN, END = "<!-- benchmarks/plan.py -->\n", "<!-- end of benchmarks/plan.py -->\n"
#: Hidden units of the machine whose time outside of kernels is measured, steps of it,
#: and parts that these are told apart in.
SMALL, STEPS, PARTS = 50, 3000, 10


class Operation(NamedTuple):
    name: str
    shapes: str
    read: int
    written: int
    items: tuple[int, ...]


class Timed:
    """A plan that keeps the time of its operations, in the place of one that is replayed."""

    def __init__(self, plan: _kernels.Plan) -> None:
        self._plan = plan
        self.nanoseconds = np.zeros(len(plan.operations()), np.int64)
        self.steps: list[list[float]] = []

    def run(
        self,
        step: int,
        rows: NDArray[np.int64],
        rule: tuple[Any, ...],
        refresh: NDArray[np.uint8],
    ) -> tuple[int, bool]:
        before = self.nanoseconds.copy()
        done = self._plan.run_timed(step, rows, rule, refresh, self.nanoseconds)
        self.steps += [((self.nanoseconds - before) / done[0]).tolist()] * done[0]
        return done

    @property
    def operations(self) -> list[Operation]:
        return [Operation(*each) for each in self._plan.operations()]


def new(images: Images, shape: tuple[int, ...], hidden: int, batch: int) -> Trainer:
    """A trainer by the options that the command line has by default."""
    words = ["images", "--hidden", hidden, "--batch-size", batch, "--epochs", 100, "-o", "run.h5"]
    with command.make_context("train", list(map(str, words))) as ctx:
        options = TrainOptions(
            **{each.name: ctx.params[each.name] for each in fields(TrainOptions)}
        )
    model = new_machine(options, shape)
    trainer = new_trainer(model, images.for_kind(model.visible.kind, "images"), None, options, 0)
    trainer.initialize()
    return trainer


def trained(trainer: Trainer, steps: int, together: int = 1) -> tuple[Timed, list[float]]:
    """(the plan of most steps, with the time of each; seconds of each step that took it).

    together: how many may be taken at once.
    """
    plans, seconds, begun, before = trainer._replay._plans, list[float](), 0.0, 0
    for event in trainer.run(lambda step: together):
        ended = time.perf_counter()
        if isinstance(event, StepDone):
            taken, before = event.step - before, event.step
            if event.step == 1:  # it was recorded
                key, plan = next(iter(plans.items()))
                assert plan is not None, "the step cannot be replayed"
                timed = Timed(plan)
                plans[key] = timed  # type: ignore[assignment]
            elif event.images == taken * key[0]:
                seconds += [(ended - begun) / taken] * taken
        if event.step >= steps:
            break
        begun = time.perf_counter()
    return timed, seconds


def described(operations: list[Operation]) -> list[str]:
    """What of each operation is the same on every machine, as the table has it."""
    return [
        f"{each.name}, {each.shapes} | {kilobytes(each.read)} | {kilobytes(each.written)}"
        for each in operations
    ]


def kilobytes(count: int) -> str:
    return f"{count / 1000:,.0f} kB"


def table(images: Images, shape: tuple[int, ...], hidden: int, batch: int, steps: int) -> str:
    """The operations of a step and their times, in Markdown."""
    times = {}
    for threads in (1, 2):
        _kernels.set_threads(threads)
        timed, _ = trained(new(images, shape, hidden, batch), steps)
        half = timed.steps[len(timed.steps) // 2 :]  # when hidden units are on as they will be
        times[threads] = [statistics.median(each) / 1000 for each in zip(*half, strict=True)]
    lines = [
        "| operation | read | written | items of its loops | 1 thread | 2 threads | share |",
        "|---|---|---|---|---|---|---|",
    ]
    alone = sum(times[1])
    for text, each, one, two in zip(
        described(timed.operations), timed.operations, *times.values(), strict=True
    ):
        items = ", ".join(map(str, each.items))
        lines.append(f"| {text} | {items} | {one:.0f} µs | {two:.0f} µs | {one / alone:.0%} |")
    lines.append(f"| all | | | | {alone:.0f} µs | {sum(times[2]):.0f} µs | |")
    return "\n".join(lines) + "\n"


def outside(images: Images, shape: tuple[int, ...], threads: int) -> str:
    """A line on the time of training a small machine that is in none of its operations."""
    _kernels.set_threads(threads)
    timed, seconds = trained(new(images, shape, SMALL, 100), STEPS, STEPS)
    inside = [sum(each) / 1e9 for each in timed.steps]
    # What goes on beside them disturbs some parts: the median one is told.
    parts = [slice(start, start + STEPS // PARTS) for start in range(0, STEPS, STEPS // PARTS)]
    whole = [statistics.mean(seconds[part]) for part in parts]
    rest = [a - statistics.mean(inside[part]) for a, part in zip(whole, parts, strict=True)]
    step, out = statistics.median(whole), statistics.median(rest)
    return (
        f"Of {STEPS} steps at {np.prod(shape)} x {SMALL} with {threads} thread{'s'[: threads - 1]},"
        f" {step * 1e6:.0f} µs each, {out / step:.0%} ({out * 1e6:.0f} µs) are outside of these"
        " operations.\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", default="mnist")
    parser.add_argument("--hidden", type=int, default=500)
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    dataset = open_source(options.source)
    assert isinstance(dataset.images, np.ndarray)
    images = Images(dataset.images, dataset.scale, np.arange(len(dataset.images)))
    shape = dataset.image_shape
    text = table(images, shape, options.hidden, options.batch, options.steps)
    text += "\n" + "\n".join(outside(images, shape, threads) for threads in (1, 2))
    print(f"{_kernels.isa()}\n\n{text}", end="")
    if options.write:
        document = DOCUMENT.read_text("utf-8")
        whole = re.compile(f"{re.escape(BEGIN)}.*{re.escape(END)}", re.DOTALL)
        assert whole.search(document), f"{DOCUMENT} has no place for the table"
        DOCUMENT.write_text(whole.sub(lambda _: BEGIN + text + END, document), "utf-8")


if __name__ == "__main__":
    main()
