"""The generated digits: the same bytes for a seed, and handwriting by every measure taken here."""

from __future__ import annotations

import hashlib
import time
import tracemalloc

import numpy as np
import numpy.typing as npt
import pytest

from rbmcli.io import digits
from rbmcli.io.digits import generate

Images = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def sample() -> tuple[Images, Labels]:
    return generate(3000, seed=1)


@pytest.mark.parametrize("count", [0, 1, 499, 500, 501])
def test_shapes_and_types(count: int) -> None:
    images, labels = generate(count)
    assert images.shape == (count, 28, 28)
    assert labels.shape == (count,)
    assert images.dtype == labels.dtype == np.uint8


def test_same_seed_same_bytes_whatever_numpys_global_state() -> None:
    np.random.seed(1)  # noqa: NPY002
    images, labels = generate(600, seed=5)
    np.random.seed(2)  # noqa: NPY002
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    again, labels_again = generate(600, seed=5)
    assert images.tobytes() == again.tobytes()
    assert labels.tobytes() == labels_again.tobytes()
    after = np.random.get_state(legacy=False)["state"]["key"]  # noqa: NPY002
    np.testing.assert_array_equal(after, state)


def test_bytes_are_those_of_every_other_machine() -> None:
    # A change of this checksum, wanted or not, keeps runs on `digits` from being resumed.
    images, labels = generate(2000, seed=0)
    checksum = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    assert checksum == "00127aeb02b23a96155091d7af448348be4cf5ef82424f9a292bfba5062114e9"


@pytest.mark.parametrize("count", [1, 37, 500, 777])
def test_smaller_request_is_the_beginning_of_a_larger(
    count: int, sample: tuple[Images, Labels]
) -> None:
    images, labels = generate(count, seed=1)
    np.testing.assert_array_equal(images, sample[0][:count])
    np.testing.assert_array_equal(labels, sample[1][:count])


def test_other_seeds_give_other_digits() -> None:
    # 2**32 + 1 and 1 share their low word: a seed is used whole.
    first = [generate(50, seed=seed) for seed in (0, 1, 2, 2**32 + 1)]
    for i, (images, labels) in enumerate(first):
        for other_images, other_labels in first[:i]:
            assert not (images == other_images).all(axis=(1, 2)).any()
            assert (labels != other_labels).any()


def test_labels_are_balanced_and_shuffled() -> None:
    _, labels = generate(5000, seed=3)
    np.testing.assert_array_equal(np.bincount(labels), [500] * 10)
    for start in range(0, 5000, 250):
        counts = np.bincount(labels[start : start + 250], minlength=10)
        assert counts.min() >= 10
        assert counts.max() <= 40
    assert (labels[1:] == labels[:-1]).mean() == pytest.approx(0.1, abs=0.02)
    assert (labels[500:] == labels[:-500]).mean() == pytest.approx(0.1, abs=0.02)


def test_every_digit_is_whole_centred_and_of_one_size(sample: tuple[Images, Labels]) -> None:
    images, _ = sample
    edge = images.copy()
    edge[:, 2:-2, 2:-2] = 0
    assert not edge.any()
    ink = images.astype(np.float64)
    ticks = np.arange(28) - 13.5
    for axis in (1, 2):
        middle = ink.sum(axis=3 - axis) @ ticks / ink.sum(axis=(1, 2))
        assert np.abs(middle).max() < 4
        assert abs(middle.mean()) < 0.3
        assert 0.3 < middle.std() < 1.5
    longer = np.maximum(_extent(images.any(axis=1)), _extent(images.any(axis=2)))
    assert longer.min() >= 19
    assert longer.max() <= 23


def test_ink_is_like_that_of_mnist(sample: tuple[Images, Labels]) -> None:
    """Of the images of MNIST's training set: mean 0.131, nonzero 0.191, strokes 2.5 wide."""
    images, labels = sample
    assert images.mean() / 255 == pytest.approx(0.131, abs=0.01)
    assert (images > 0).mean() == pytest.approx(0.191, abs=0.015)
    assert images.max(axis=(1, 2)).min() > 150
    grey = (images > 0) & (images < 250)  # edges are smooth
    assert 0.4 < grey.sum() / (images > 0).sum() < 0.7
    width = _stroke_width(images)
    assert np.median(width) == pytest.approx(2.5, abs=0.15)
    for digit in range(10):
        thin, thick = np.quantile(width[labels == digit], [0.05, 0.95])
        assert thick > 1.8 * thin


def test_strokes_are_not_broken(sample: tuple[Images, Labels]) -> None:
    ink = sample[0][:500] > 60
    index = np.arange(len(ink))
    reached = np.zeros_like(ink)
    reached.reshape(len(ink), -1)[index, ink.reshape(len(ink), -1).argmax(axis=1)] = True
    while True:
        wider = np.pad(reached, ((0, 0), (1, 1), (1, 1)))
        wider = wider[:, :-2] | wider[:, 1:-1] | wider[:, 2:]
        wider = (wider[:, :, :-2] | wider[:, :, 1:-1] | wider[:, :, 2:]) & ink
        if (wider == reached).all():
            break
        reached = wider
    np.testing.assert_array_equal(reached, ink)


def test_images_of_a_digit_vary(sample: tuple[Images, Labels]) -> None:
    images, labels = sample
    for digit in range(10):
        flat = images[labels == digit].reshape(-1, 784) / 255.0
        square = (flat * flat).sum(axis=1)
        distance = square[:, None] + square - 2 * flat @ flat.T
        np.fill_diagonal(distance, np.inf)
        # Squared distances; the mean image of a one, the sparsest digit, measures about 20.
        assert distance.min() > 0.5
        assert np.median(distance.min(axis=1)) > 4
        assert flat.var(axis=0).sum() > 20


def test_slant_varies(sample: tuple[Images, Labels]) -> None:
    images, labels = sample
    ones = images[labels == 1].astype(np.float64)
    ink = ones.sum(axis=(1, 2))
    y, x = (np.arange(28) - (ones.sum(axis=a) @ np.arange(28) / ink)[:, None] for a in (2, 1))
    slant = -np.einsum("nij,ni,nj->n", ones, y, x) / (ones.sum(axis=2) * y * y).sum(axis=1)
    left, right = np.quantile(slant, [0.05, 0.95])
    assert -0.4 < left < -0.1
    assert 0.5 < right < 0.8


def test_digits_can_be_told_apart_but_not_trivially() -> None:
    images, labels = generate(4000, seed=2)
    flat = np.concatenate([images.reshape(-1, 784) / 255.0, np.ones((4000, 1))], axis=1)
    seen, target = flat[:3000], np.eye(10)[labels[:3000]]
    new, truth = flat[3000:], labels[3000:]
    means = target.T @ seen / target.sum(axis=0)[:, None]
    nearest = ((means * means).sum(axis=1) - 2 * new @ means.T).argmin(axis=1)
    recall = [(nearest[truth == digit] == digit).mean() for digit in range(10)]
    assert min(recall) > 0.6
    assert 0.8 < np.mean(recall) < 0.96
    linear = np.linalg.solve(seen.T @ seen + 10 * np.eye(785), seen.T @ target)
    assert 0.85 < ((new @ linear).argmax(axis=1) == truth).mean() < 0.99


def test_samples_run_evenly_along_every_stroke() -> None:
    alphabet = digits._alphabet()
    texts = [text for groups in digits._SHAPES for group in groups for text in group]
    for column, text in enumerate(texts):
        strokes = [
            np.array([p.split(",") for p in s.split()], float) / 50 - (0.6, 1)
            for s in text.split("/")
        ]
        control, weight = alphabet.control[..., column], alphabet.weight[..., column]
        path = np.stack(
            [(weight * p[control, column]).sum(axis=0) for p in (alphabet.x, alphabet.y)], axis=1
        )
        step = np.sqrt((np.diff(path, axis=0) ** 2).sum(axis=1))
        lifted = np.sort(step)[::-1][: len(strokes) - 1]  # where the pen goes to the next stroke
        assert (step.sum() - lifted.sum()) / len(step) < 0.07
        assert (step > 0.08).sum() <= len(lifted)
        for stroke in strokes:
            for end in (stroke[0], stroke[-1]):
                assert np.sqrt(((path - end) ** 2).sum(axis=1)).min() < 0.05


def test_shapes_of_a_group_can_be_blended() -> None:
    assert len(digits._SHAPES) == 10
    for groups in digits._SHAPES:
        for group in groups:
            structures = {tuple(len(stroke.split()) for stroke in s.split("/")) for s in group}
            assert len(structures) == 1
            assert min(structures.pop()) >= 3


def test_ten_thousand_take_under_two_seconds_and_little_memory() -> None:
    start = time.process_time()
    generate(10_000)
    assert time.process_time() - start < 2
    tracemalloc.start()
    images, _ = generate(10_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak - images.nbytes < 50e6


def _extent(on: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """From the first to the last that is on, of each row."""
    return on.shape[1] - on[:, ::-1].argmax(axis=1) - on.argmax(axis=1)


def _stroke_width(images: Images) -> npt.NDArray[np.float64]:
    """Pixels; twice the area over the length of the outline, which is pi / 4 of its steps."""
    on = np.pad(images > 127, ((0, 0), (1, 1), (1, 1))).astype(np.int8)
    steps = sum(np.abs(np.diff(on, axis=axis)).sum(axis=(1, 2)) for axis in (1, 2))
    return 2 * on.sum(axis=(1, 2)) / (np.pi / 4 * steps)
