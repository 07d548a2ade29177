"""How far AIS and RAISE lie from the exact log-likelihood, over many seeds.

python reproduce/estimates.py TRAINING_IMAGES TEST_IMAGES [--seeds 20] [--threads N]

Machines of 20 hidden units, few enough to enumerate, each trained on MNIST with its own seed: those
of even seeds by persistent chains, those of odd ones by CD-1 at a large rate, until chains mix
badly. AIS with 100 chains and 14 500 temperatures, RAISE on 500 test images. Prints a line for
each: the exact mean log-likelihood of the test images, what AIS and RAISE say less that, and their
standard errors (of AIS, relative to Z).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EASY = ("--epochs", "10", "--algorithm", "pcd", "--lr", "0.05:0.005", "--momentum", "0")
HARD = ("--epochs", "30", "--algorithm", "cd", "--lr", "0.3", "--momentum", "0.9", "--no-centering")


def rbm(*arguments: object) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "rbmcli", *map(str, arguments), "--quiet"]
    # The installed package, not the source tree that this may be run from.
    environment = os.environ | {"PYTHONSAFEPATH": "1"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout


def main() -> None:
    """Train, evaluate both ways, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("training")
    parser.add_argument("test")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    common = ("--threads", options.threads)
    print("seed  exact     AIS - exact  (s.e.)   RAISE - exact  (s.e.)")
    for seed in range(options.seeds):
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run.h5")
            how = EASY if seed % 2 == 0 else HARD
            machine = ("--hidden", 20, "--weight-decay", 0, "--seed", seed)
            rbm("train", options.training, *machine, *how, *common, "-o", run)
            found = {}
            for method in ("--exact", "--estimated"):
                command = ("evaluate", run, options.test, "--json", "--seed", seed, method)
                found[method] = json.loads(rbm(*command, *common))
        exact, estimate = (found[method]["log_likelihood"] for method in found)
        partition = found["--estimated"]["log_partition"]
        value, low = exact["value"], estimate["conservative"]
        # The interval is that of Z +- 3 s.e., of which the upper end of Z always has a logarithm.
        relative = math.expm1(partition["high"] - partition["value"]) / 3
        ais = f"{estimate['value'] - value:+.4f}  ({relative:.4f})"
        reverse = f"{low - value:+.4f}  ({estimate['conservative_error']:.4f})"
        print(f"{seed:4}  {value:8.3f}   {ais}    {reverse}", flush=True)


if __name__ == "__main__":
    main()
