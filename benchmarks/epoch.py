"""How long an epoch takes, against scikit-learn, PyTorch, numpy and bare matrix products.

Ours is the real command with its defaults: centred gradients, drawn binarisation, momentum, weight
decay, measurements and checkpoints. An epoch of it: (time of 11 epochs - time of 1) / 10, of the
largest models fewer. The peers (peers.py) get float32 input, learn along the plain gradient and
write nothing. All of a row run in turn, round after round, so that a machine whose speed drifts is
fair to all; what counts are the ratios within a round, of which the median is shown.

    python benchmarks/epoch.py [--rounds N] [--threads N] [--mnist SOURCE] [--fashion SOURCE]
                               [--rows NUMBER ...] [--before PYTHON] [--json FILE]

--before takes the Python of another environment, with an earlier version installed. --json writes
the seconds of all rounds, row by row, which growth.py makes a picture of.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """One line of the table: a problem, and whom ours is compared with.

    against: peers, by their names in peers.py, and variants of ours, by theirs in `VARIANTS`.
    """

    data: str
    hidden: int
    batch: int
    against: tuple[str, ...]
    options: str = ""
    epochs: int = 10


PEERS = ("scikit-learn", "pytorch", "numpy", "products")
SLOW = "--lr 0.0001"  # which no kind of unit diverges with
GAUSSIAN = f"--visible-kind gaussian {SLOW}"


@dataclass(frozen=True)
class Variant:
    """The command of a row otherwise: with more options, or these instead of its own.

    threads: 0 for as many as the others have. isa: "" for the best there is.
    """

    options: str = ""
    threads: int = 0
    isa: str = ""
    instead: bool = False


VARIANTS = {
    "not centred": Variant("--no-centering"),
    "one thread": Variant(threads=1),
    "baseline": Variant(isa="baseline"),
    "cd": Variant(instead=True),
    "gaussian": Variant(GAUSSIAN, instead=True),
    "bernoulli": Variant(SLOW, instead=True),
}

ROWS = (
    Row("mnist", 500, 100, (*PEERS, "not centred", "one thread", "baseline")),
    Row("mnist", 50, 100, (*PEERS, "not centred", "one thread")),
    Row("fashion", 500, 100, PEERS),
    Row("mnist", 1000, 1000, ("products",)),
    Row("mnist", 2000, 1000, ("products",), epochs=4),
    Row("mnist", 4096, 1000, ("products",), epochs=2),
    Row("mnist", 8192, 1000, ("products",), epochs=1),
    Row("mnist", 16384, 1000, ("products",), epochs=1),
    Row("mnist", 500, 100, ("cd",), "--algorithm pcd"),
    Row("mnist", 500, 100, ("cd",), "--algorithm fpcd"),
    Row("mnist", 500, 100, ("cd",), "--algorithm pt --temperatures 5", epochs=4),
    Row("mnist", 500, 100, ("pytorch-gaussian", "products", "not centred"), GAUSSIAN),
    Row("mnist", 500, 100, ("gaussian", "products"), f"--visible-kind gaussian:learned {SLOW}"),
    Row("mnist", 500, 100, ("bernoulli", "products"), f"--hidden-kind nrelu {SLOW}"),
    Row("mnist", 500, 100, ("gaussian", "products"), f"{GAUSSIAN} --hidden-kind nrelu"),
    Row("mnist", 500, 100, ("products",), f"--hidden-kind nrelu:exact {SLOW}"),
    Row("mnist", 500, 100, ("products",), f"--visible-kind binomial:8 {SLOW}"),
    Row("mnist", 50, 100, ("products",), f"--hidden-kind softmax:10 {SLOW}"),
)


def environment(threads: int, isa: str = "") -> dict[str, str]:
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    # The installed package, not the source tree that this may be run from.
    ours = {"RBM_ISA": isa, "PYTHONSAFEPATH": "1"}
    return os.environ | dict.fromkeys(names, str(threads)) | ours


def command_seconds(
    row: Row, variant: Variant, source: str, epochs: int, python: str, threads: int
) -> float:
    options = variant.options if variant.instead else f"{row.options} {variant.options}"
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "rbmcli", "train", source, "--quiet", *options.split()]
        command += ["--hidden", row.hidden, "--batch-size", row.batch, "--epochs", epochs]
        command += ["--output", Path(folder, "run.h5")]
        start = time.perf_counter()
        subprocess.run(
            list(map(str, command)),
            check=True,
            env=environment(variant.threads or threads, variant.isa),
        )
        return time.perf_counter() - start


def ours(
    row: Row,
    source: str,
    threads: int,
    variant: Variant = Variant(),
    python: str = sys.executable,
) -> float:
    long, short = (
        command_seconds(row, variant, source, epochs, python, threads)
        for epochs in (row.epochs + 1, 1)
    )
    return (long - short) / row.epochs


def peer(name: str, row: Row, source: str, threads: int) -> float:
    command = [sys.executable, HERE / "peers.py", name, source, row.hidden, row.batch]
    result = subprocess.run(
        list(map(str, command)),
        check=True,
        capture_output=True,
        text=True,
        env=environment(threads),
    )
    return float(result.stdout)


def measure(row: Row, source: str, threads: int, before: str | None) -> dict[str, float]:
    """Seconds of one round."""
    seconds = {"ours": ours(row, source, threads)}
    if before is not None:
        seconds["before"] = ours(row, source, threads, python=before)
    for name in row.against:
        if name in VARIANTS:
            seconds[name] = ours(row, source, threads, VARIANTS[name])
        else:
            seconds[name] = peer(name, row, source, threads)
    return seconds


def report(rounds: list[dict[str, float]]) -> None:
    """Print the median seconds of all that took turns, and their ratios to ours."""
    for name in rounds[0]:
        seconds = statistics.median(times[name] for times in rounds)
        ratios = sorted(times[name] / times["ours"] for times in rounds)
        ratio = (
            ""
            if name == "ours"
            else f"   takes {statistics.median(ratios):.2f} times ours"
            f" ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
        print(f"  {name:16} {seconds:8.3f}{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mnist", default="mnist")
    parser.add_argument("--fashion", default="fashion-mnist")
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(ROWS)))
    parser.add_argument("--before", metavar="PYTHON")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    sources = {"mnist": options.mnist, "fashion": options.fashion}

    results: list[dict[str, object]] = []
    print(f"seconds an epoch, median of {options.rounds} rounds, {options.threads} threads")
    for row in (ROWS[number] for number in options.rows):
        rounds = [
            measure(row, sources[row.data], options.threads, options.before)
            for _ in range(options.rounds)
        ]
        print(f"\n{row.data}, 784 x {row.hidden}, batch {row.batch} {row.options}")
        report(rounds)
        # What a row is, and what came of it.
        what = {"data": row.data, "hidden": row.hidden, "batch": row.batch, "options": row.options}
        results.append({**what, "threads": options.threads, "rounds": rounds})
        if options.json is not None:  # after each row: the last ones take hours
            options.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
