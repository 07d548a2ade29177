"""How well a linear SVM tells digits apart by the features of a stack.

    python linear_svm.py TRAIN.h5 TEST.h5

The files are what `rbm features --layer all` writes of the training and of the test images, with
labels. First as the features are, then after a linear map that is fitted to the training images
without their labels: principal components, each divided by its variance to the power of 0.4, so
that what differs between most images does not drown what differs between few. With 1000 labels, the
mean of 5 draws of so many training images, C chosen by 5-fold cross-validation within each draw;
then with all labels, C chosen on the last sixth of the images.
"""

from __future__ import annotations

import sys
import time

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GridSearchCV
from sklearn.svm import LinearSVC

COMPONENTS, POWER, FLOOR = 1000, 0.4, 0.01
DRAWS, LABELS = 5, 1000
COSTS = (0.03, 0.1, 0.3, 1.0)

Features = NDArray[np.float32]


def read(path: str) -> tuple[Features, NDArray[np.int64]]:
    """Features (images, units) and labels (images,)."""
    with h5py.File(path) as file:
        return file["features"][()], file["labels"][()]


def decorrelated(train: Features, test: Features) -> list[Features]:
    """Both through the linear map; the sum of the variances is then 1."""
    mean = train.mean(axis=0)
    covariance = np.cov(train[::3], rowvar=False)
    variances, components = np.linalg.eigh(covariance)
    variances, components = np.maximum(variances[-COMPONENTS:], 0), components[:, -COMPONENTS:]
    scale = (variances + FLOOR * variances.max()) ** -POWER
    scale /= np.sqrt((variances * scale**2).sum())
    mapping = (components * scale).astype(np.float32)
    return [(features - mean) @ mapping for features in (train, test)]


def few_labels(
    train: Features, labels: NDArray[np.int64], test: Features, truth: NDArray[np.int64]
) -> None:
    """Print the errors of classifiers that know few labels."""
    errors = []
    for draw in range(DRAWS):
        rows = np.random.default_rng(draw).choice(len(train), LABELS, replace=False)
        search = GridSearchCV(LinearSVC(dual=True, random_state=0), {"C": COSTS}, cv=5)
        search.fit(train[rows], labels[rows])
        errors.append(100 * (1 - search.score(test, truth)))
    shown = ", ".join(f"{error:.2f}" for error in errors)
    print(f"  {LABELS} labels: {np.mean(errors):.2f} % ({shown})", flush=True)


def all_labels(
    train: Features, labels: NDArray[np.int64], test: Features, truth: NDArray[np.int64]
) -> None:
    """Print the error of one that knows all of them."""
    start = time.perf_counter()
    kept = len(train) * 5 // 6

    def fitted(cost: float, count: int) -> LinearSVC:
        return LinearSVC(C=cost, dual=False, tol=1e-3).fit(train[:count], labels[:count])

    scores = {cost: fitted(cost, kept).score(train[kept:], labels[kept:]) for cost in COSTS}
    best = max(scores, key=lambda cost: scores[cost])
    error = 100 * (1 - fitted(best, len(train)).score(test, truth))
    seconds = time.perf_counter() - start
    print(f"  {len(train)} labels: {error:.2f} % (C {best:g}, {seconds:.0f} s)", flush=True)


def main() -> None:
    """Print everything."""
    (train, labels), (test, truth) = map(read, sys.argv[1:3])
    print(f"{train.shape[1]} features, as they are")
    few_labels(train, labels, test, truth)
    print("decorrelated")
    train, test = decorrelated(train, test)
    few_labels(train, labels, test, truth)
    all_labels(train, labels, test, truth)


if __name__ == "__main__":
    main()
