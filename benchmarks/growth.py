"""A picture of how the time of an epoch grows with the hidden units, beside that of bare products.

    python benchmarks/epoch.py --rows 3 4 5 6 7 --json growth.json
    python benchmarks/growth.py growth.json growth.svg [--batch N]

Drawn are the rows of the default options and of one size of batch that were compared with the five
matrix products of a step of CD-1: medians, and the range of the rounds. What is drawn, .svg or
.png, the name of the output says. Needs matplotlib (the extra `reproduce`).
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

#: Results by name -> how they are drawn: label, colour, marker.
CURVES = {
    "products": ("five bare matrix products", "#999999", "s"),
    "ours": ("an epoch of rbm train", "#1f6fb4", "o"),
}


def points(results: list[dict[str, Any]], batch: int) -> dict[int, dict[str, list[float]]]:
    """Seconds of all rounds, by hidden units and then by name; SystemExit where there are none."""
    chosen = {
        row["hidden"]: {name: [times[name] for times in row["rounds"]] for name in CURVES}
        for row in results
        if row["batch"] == batch and not row["options"] and "products" in row["rounds"][0]
    }
    if not chosen:
        raise SystemExit(f"no row of batches of {batch} was compared with bare products")
    return dict(sorted(chosen.items()))


def draw(seconds: dict[int, dict[str, list[float]]], title: str, output: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    # The same results make the same file: letters stay letters, ids have no random part.
    matplotlib.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none"})
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    hidden = list(seconds)
    for name, (label, colour, marker) in CURVES.items():
        rounds = [each[name] for each in seconds.values()]
        middle = [statistics.median(each) for each in rounds]
        least, most = list(map(min, rounds)), list(map(max, rounds))
        axes.fill_between(hidden, least, most, color=colour, alpha=0.25, linewidth=0)
        axes.plot(hidden, middle, color=colour, marker=marker, label=label)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(hidden, [f"{units:,}" for units in hidden])
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.set_xlabel("hidden units")
    axes.set_ylabel("seconds an epoch")
    axes.set_title(title, fontsize="medium")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    metadata = {"Date": None} if output.suffix == ".svg" else None
    figure.savefig(output, dpi=150, metadata=metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--batch", type=int, default=1000)
    options = parser.parse_args()
    results = json.loads(options.results.read_text("utf-8"))
    seconds = points(results, options.batch)
    threads = f"{results[0]['threads']} thread{'s' if results[0]['threads'] > 1 else ''}"
    title = f"CD-1, 784 visible units, batches of {options.batch}, {threads}"
    draw(seconds, title, options.output)
    for units, each in seconds.items():
        ours, products = (statistics.median(each[name]) for name in ("ours", "products"))
        print(f"{units:6} hidden units: {ours:8.3f} s, products {products:8.3f} s")


if __name__ == "__main__":
    main()
