"""How well a linear SVM tells digits apart by the pooled units of a stack.

    python linear_svm.py RUN.h5 TRAIN TEST [--labels FILE --test-labels FILE]

Features are the pooled units' probabilities of all layers, side by side. First as they are, then
after a linear map that is fitted to training images without their labels: principal components,
each divided by its variance to the power of 0.4, so that what differs between most images does not
drown what differs between few. With 1000 labels, the mean of 5 draws of so many training images, C
chosen by 5-fold cross-validation within each draw; also with each of these images shown shifted by
a pixel to four sides besides. With all labels, C is chosen on the last sixth of the images.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

from rbmcli.cli.datasets import as_seen
from rbmcli.cli.models import load_stack
from rbmcli.inference.features import chosen_layers, features
from rbmcli.io.runfile import RunReader
from rbmcli.io.sources import open_source

COMPONENTS, POWER, FLOOR = 800, 0.4, 0.01
FITTED_TO = 20_000
DRAWS, LABELS = 5, 1000
SIDES = ((1, 0), (-1, 0), (0, 1), (0, -1))
#: Of features as they are, and of those whose variances add up to 1.
COSTS, COSTS_OF_MAPPED = (0.03, 0.1, 0.3), (0.5, 1.0, 2.0, 4.0)

Features = NDArray[np.float32]
Labels = NDArray[np.int64]


class Stack:
    """A trained stack and what it makes of images."""

    def __init__(self, run: Path) -> None:
        self._run = run
        with RunReader(run) as reader:
            self._stack = load_stack(reader)

    def features(self, source: str) -> Features:
        """All layers' features of the images of a source, grey values taken as they are."""
        layer = self._stack.image_layer
        with RunReader(self._run) as reader:
            images = as_seen(reader, source, layer, np.arange, "none", quiet=True)
        layers, draw = chosen_layers(self._run, self._stack, "all"), (0, 0, 0, 0)
        blocks = (images.rows[start : start + 500] for start in range(0, len(images.rows), 500))
        states = (images.states(rows, layer, draw) for rows in blocks)
        return np.concatenate([features(self._stack, each, draw, layers) for each in states])


def mapping(train: Features) -> tuple[Features, Features]:
    """(mean, matrix) of the linear map; (x - mean) matrix has variances that add up to 1."""
    some = train[np.random.default_rng(0).permutation(len(train))[:FITTED_TO]]
    variances, components = np.linalg.eigh(np.cov(some, rowvar=False))
    variances, components = np.maximum(variances[-COMPONENTS:], 0), components[:, -COMPONENTS:]
    scale = (variances + FLOOR * variances.max()) ** -POWER
    scale /= np.sqrt((variances * scale**2).sum())
    return some.mean(axis=0), (components * scale).astype(np.float32)


def draws(count: int) -> list[NDArray[np.int64]]:
    """The rows of each draw of labelled images."""
    chosen = (np.random.default_rng(draw) for draw in range(DRAWS))
    return [generator.choice(count, LABELS, replace=False) for generator in chosen]


def cost_for(train: Features, labels: Labels, costs: tuple[float, ...]) -> float:
    """C by 5-fold cross-validation."""
    search = GridSearchCV(LinearSVC(random_state=0), {"C": costs}, cv=5, refit=False)
    return float(search.fit(train, labels).best_params_["C"])


def told(what: str, errors: list[float]) -> None:
    """Print errors of several draws."""
    shown = ", ".join(f"{error:.2f}" for error in errors)
    print(f"{LABELS} labels, {what}: {np.mean(errors):.2f} % ({shown})", flush=True)


def error(machine: LinearSVC, test: Features, truth: Labels) -> float:
    """In per cent."""
    return 100 * (1 - machine.score(test, truth))


def main() -> None:
    """Print everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--labels")
    parser.add_argument("--test-labels")
    options = parser.parse_args()
    stack = Stack(options.run)
    known = open_source(options.train, labels=options.labels)
    labels, pictures = known.labels, known.images.reshape(-1, *known.image_shape)
    truth = open_source(options.test, labels=options.test_labels).labels
    start = time.perf_counter()
    train, test = stack.features(options.train), stack.features(options.test)
    print(f"{train.shape[1]} features of each image ({time.perf_counter() - start:.0f} s)")

    rows_of_draws = draws(len(train))
    plain = []
    for rows in rows_of_draws:
        cost = cost_for(train[rows], labels[rows], COSTS)
        machine = LinearSVC(C=cost, random_state=0).fit(train[rows], labels[rows])
        plain.append(error(machine, test, truth))
    told("features as they are", plain)

    mean, matrix = mapping(train)
    train, test = (train - mean) @ matrix, (test - mean) @ matrix
    mapped, with_shifted = [], []
    for rows in rows_of_draws:
        cost = cost_for(train[rows], labels[rows], COSTS_OF_MAPPED)
        machine = LinearSVC(C=cost, random_state=0).fit(train[rows], labels[rows])
        mapped.append(error(machine, test, truth))
        shifted = np.concatenate([np.roll(pictures[rows], side, (1, 2)) for side in SIDES])
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder, "shifted.npy"), shifted)
            more = (stack.features(str(Path(folder, "shifted.npy"))) - mean) @ matrix
        machine = LinearSVC(C=cost, random_state=0).fit(
            np.concatenate([train[rows], more]), np.tile(labels[rows], 1 + len(SIDES))
        )
        with_shifted.append(error(machine, test, truth))
    told("decorrelated", mapped)
    told("decorrelated, with shifted images", with_shifted)

    start, kept = time.perf_counter(), len(train) * 5 // 6
    scores = {}
    for cost in COSTS_OF_MAPPED:
        machine = LinearSVC(C=cost, dual=False, tol=1e-3).fit(train[:kept], labels[:kept])
        scores[cost] = machine.score(train[kept:], labels[kept:])
    best = max(scores, key=lambda cost: scores[cost])
    machine = LinearSVC(C=best, dual=False, tol=1e-3).fit(train, labels)
    seconds = time.perf_counter() - start
    print(
        f"{len(train)} labels, decorrelated: {error(machine, test, truth):.2f} %"
        f" (C {best:g}; {seconds:.0f} s)"
    )


if __name__ == "__main__":
    main()
