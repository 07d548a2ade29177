"""How long an epoch of CD-1 takes with filters that move over the image, against PyTorch.

40 filters of 11 x 11 on 28 x 28 pixels, pooled 2 x 2, batches of 100. Ours is the real command with
its defaults, and sparsity: centred gradients, sampled binarisation, momentum, weight decay,
monitoring and checkpoints: (time of 1 + EPOCHS epochs - time of 1) / EPOCHS. PyTorch takes the same
step, not centred, written plainly, in a process of its own, warmed up, with float32 input, and
writes nothing; it takes PART of an epoch only, and its time is multiplied. All run in turn, round
after round; what counts is the ratio within a round, of which the median is shown.

    python benchmarks/convolving.py [--rounds N] [--epochs N] [--part FRACTION] [--threads N]
                                    [--mnist SOURCE] [--against NAME ...]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from epoch import environment, report

FILTERS, SIDE, POOL, BATCH = 40, 11, 2, 100


def command_seconds(source: str, epochs: int, threads: int, isa: str, *, centred: bool) -> float:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "rbmcli", "train", source, "--quiet"]
        command += ["--conv", f"{FILTERS}x{SIDE}x{SIDE}", "--pool", POOL, "--batch-size", BATCH]
        command += ["--sparsity-target", "0.01", "--epochs", epochs]
        command += ["--centering" if centred else "--no-centering"]
        command += ["--output", Path(folder, "run.h5")]
        start = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, env=environment(threads, isa))
        return time.perf_counter() - start


def ours(source: str, epochs: int, threads: int, isa: str = "", *, centred: bool = True) -> float:
    long, short = (
        command_seconds(source, n, threads, isa, centred=centred) for n in (1 + epochs, 1)
    )
    return (long - short) / epochs


def torch_seconds(source: str, part: float) -> float:
    """Of an epoch, of which only a part is taken."""
    import torch
    from peers import images, timed
    from torch.nn import functional

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    torch.manual_seed(0)
    data = torch.from_numpy(images(source)).reshape(-1, 1, 28, 28)
    weights = 0.01 * torch.randn(FILTERS, 1, SIDE, SIDE)
    above, below = torch.zeros(FILTERS), torch.zeros(1)
    velocity = [torch.zeros_like(x) for x in (weights, above, below)]
    positions = (28 - SIDE + 1) ** 2

    def blocks(maps: torch.Tensor) -> torch.Tensor:
        """(images, filters, rows of blocks, columns of blocks, POOL * POOL)."""
        folded = maps.unfold(2, POOL, POOL).unfold(3, POOL, POOL)
        return folded.reshape(*folded.shape[:4], POOL * POOL)

    def unblocked(groups: torch.Tensor) -> torch.Tensor:
        count, filters, rows, columns, _ = groups.shape
        folded = groups.reshape(count, filters, rows, columns, POOL, POOL)
        return folded.permute(0, 1, 2, 4, 3, 5).reshape(count, filters, rows * POOL, columns * POOL)

    def hidden(v: torch.Tensor) -> torch.Tensor:
        """Probabilities of each block's outcomes; of none of its units, the last."""
        groups = blocks(functional.conv2d(v, weights, above))
        return torch.softmax(functional.pad(groups, (0, 1)), dim=-1)

    def correlation(v: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
        swapped = functional.conv2d(v.transpose(0, 1), h.transpose(0, 1))
        return swapped.transpose(0, 1) / (len(v) * positions)

    def step(x: torch.Tensor) -> None:
        v0 = torch.bernoulli(x)
        p0 = hidden(v0)
        drawn = torch.multinomial(p0.reshape(-1, POOL * POOL + 1), 1).reshape(p0.shape[:-1])
        h0 = unblocked(functional.one_hot(drawn, POOL * POOL + 1)[..., :-1].float())
        v1 = torch.bernoulli(torch.sigmoid(functional.conv_transpose2d(h0, weights, below)))
        p1 = hidden(v1)
        q0, q1 = unblocked(p0[..., :-1]), unblocked(p1[..., :-1])
        mean = q0.mean((0, 2, 3))
        gradients = (
            correlation(v0, q0) - correlation(v1, q1) - 1e-4 * weights,
            mean - q1.mean((0, 2, 3)) + 0.1 * (0.01 - mean),
            ((v0 - v1).sum((2, 3)) / positions).mean(0),
        )
        for parameter, moving, gradient in zip(
            (weights, above, below), velocity, gradients, strict=True
        ):
            moving.mul_(0.5).add_(gradient, alpha=0.05)
            parameter.add_(moving)

    def steps(count: int) -> None:
        with torch.no_grad():
            for index in torch.randperm(len(data)).split(BATCH)[:count]:
                step(data[index])

    whole = len(data) // BATCH
    count = max(1, round(part * whole))
    return timed(steps, 2, count) * whole / count


def peer(source: str, part: float, threads: int) -> float:
    command = [sys.executable, __file__, "--torch", source, str(part)]
    beside = environment(threads) | {"PYTHONSAFEPATH": ""}  # this folder's modules are wanted
    result = subprocess.run(command, check=True, capture_output=True, text=True, env=beside)
    return float(result.stdout)


def main() -> None:
    if sys.argv[1:2] == ["--torch"]:
        print(torch_seconds(sys.argv[2], float(sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--part", type=float, default=0.1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--mnist", default="mnist")
    columns = ("pytorch", "not centred", "one thread", "baseline")
    parser.add_argument("--against", nargs="+", default=columns, choices=columns)
    options = parser.parse_args()
    source, epochs, threads = options.mnist, options.epochs, options.threads

    def measured(name: str) -> float:
        if name == "pytorch":
            return peer(source, options.part, threads)
        if name == "one thread":
            return ours(source, epochs, 1)
        if name == "baseline":
            return ours(source, epochs, threads, "baseline")
        return ours(source, epochs, threads, centred=name != "not centred")

    print(f"seconds an epoch, median of {options.rounds} rounds, {threads} threads")
    rounds = [
        {name: measured(name) for name in ("ours", *options.against)} for _ in range(options.rounds)
    ]
    report(rounds)


if __name__ == "__main__":
    main()
