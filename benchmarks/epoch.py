"""How long an epoch of CD-1 takes, against scikit-learn, PyTorch and bare matrix products.

Ours is the real command with sampled binarisation, momentum, weight decay, monitoring and
checkpoints: (time of 11 epochs - time of 1) / 10. It learns along the plain gradient, as the peers
do; "centred" is what it does by default. The peers (peers.py) get float32 input and write nothing.
Then come the other kinds of unit and the other algorithms, against the bare products of the same
shapes. All run in turn, round after round, so that a machine whose speed drifts is fair to all;
what counts are the ratios within a round, of which the median is shown.

    python benchmarks/epoch.py [--rounds N] [--threads N] [--mnist SOURCE] [--fashion SOURCE]
                               [--rows NUMBER ...]
"""

from __future__ import annotations

import argparse
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
    """One line of the table: a problem, and whom ours is compared with."""

    data: str
    hidden: int
    batch: int
    against: tuple[str, ...]
    options: str = ""


PEERS = ("scikit-learn", "pytorch", "products")
SLOW = "--lr 0.0001"  # which no kind of unit diverges with
ROWS = (
    Row("mnist", 500, 100, (*PEERS, "centred", "one thread", "baseline")),
    Row("mnist", 50, 100, (*PEERS, "centred")),
    Row("fashion", 500, 100, PEERS),
    Row("mnist", 4096, 1000, ("products",)),
    Row("mnist", 500, 100, ("products",), "--algorithm pcd"),
    Row("mnist", 500, 100, ("products",), "--algorithm fpcd"),
    Row("mnist", 500, 100, ("products",), "--algorithm pt --temperatures 5"),
    Row("mnist", 500, 100, ("products",), f"--visible-kind gaussian {SLOW}"),
    Row("mnist", 500, 100, ("products",), f"--visible-kind gaussian:learned {SLOW}"),
    Row("mnist", 500, 100, ("products",), f"--visible-kind gaussian --hidden-kind nrelu {SLOW}"),
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
    row: Row, source: str, epochs: int, threads: int, isa: str, *, centred: bool
) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rbmcli", "train", source, "--quiet"]
        command += ["--hidden", row.hidden, "--batch-size", row.batch, "--epochs", epochs]
        command += ["--output", Path(folder, "run.h5"), *row.options.split()]
        command += ["--centering" if centred else "--no-centering"]
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, env=environment(threads, isa))
        return time.perf_counter() - start


def ours(row: Row, source: str, threads: int, isa: str = "", *, centred: bool = False) -> float:
    long, short = (
        command_seconds(row, source, epochs, threads, isa, centred=centred) for epochs in (11, 1)
    )
    return (long - short) / 10


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


def measure(row: Row, source: str, threads: int) -> dict[str, float]:
    """Seconds of one round."""
    seconds = {"ours": ours(row, source, threads)}
    for name in row.against:
        if name == "centred":
            seconds[name] = ours(row, source, threads, centred=True)
        elif name == "one thread":
            seconds[name] = ours(row, source, 1)
        elif name == "baseline":
            seconds[name] = ours(row, source, threads, "baseline")
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
        print(f"  {name:13} {seconds:8.3f}{ratio}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mnist", default="mnist")
    parser.add_argument("--fashion", default="fashion-mnist")
    parser.add_argument("--rows", type=int, nargs="+", default=range(len(ROWS)))
    options = parser.parse_args()
    sources = {"mnist": options.mnist, "fashion": options.fashion}

    print(f"seconds an epoch, median of {options.rounds} rounds, {options.threads} threads")
    for row in (ROWS[number] for number in options.rows):
        rounds = [measure(row, sources[row.data], options.threads) for _ in range(options.rounds)]
        print(f"\n{row.data}, 784 x {row.hidden}, batch {row.batch} {row.options}")
        report(rounds)


if __name__ == "__main__":
    main()
