"""The embedded data set `digits`: handwritten-looking digits, generated.

A digit starts as a few pen strokes, in one of several ways of writing it. A writer's hand then
bends, slants and turns the strokes, the pen presses more or less, and the result is scaled to a
box of about 20 pixels and put in the middle of a frame of 28 x 28, as the digits of MNIST are.

A run file knows its data by their checksum, so the bytes depend on the seed and not on the
machine: all draws are uniform or sums of uniform ones, all arithmetic is of the kinds that every
processor rounds alike (no sines, exponentials or matrix products), and sums run down the first
axis, where numpy adds row by row.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Indices = npt.NDArray[np.intp]
_Bytes = npt.NDArray[np.uint8]

_SIDE = 28
_BOX = 21  # pixels, the longer side of a digit on average, edge of the ink to edge of the ink
_MARGIN = 2  # pixels along each edge of the frame that stay empty
_CHUNK = 500  # images drawn at once, from a stream of random numbers of their own
_SAMPLES = 160  # points along the strokes of one digit: closer to each other than a pixel
_REACH = 3  # a point inks pixels at most this many rows and columns from the one it lies in

# Shapes that a digit can have, in a box about 60 wide and 100 high, x to the right, y downward.
# Each is one or more strokes separated by `/`, a stroke being the control points (at least three)
# of a quadratic spline, which starts at the first, ends at the last and has a corner where a point
# is repeated. Shapes of one group have as many strokes of as many points, so that whatever lies
# between two of them is the digit as well. A shape is drawn as often as any other of its digit.
_SHAPES: tuple[tuple[tuple[str, ...], ...], ...] = (
    (  # 0
        (
            "36,1 12,0 0,28 0,72 16,100 40,100 60,72 60,30 48,2 26,1",
            "28,0 12,6 4,32 3,70 12,99 30,99 44,70 45,32 36,4 22,1",
            "46,6 20,-4 -6,26 -2,72 20,101 50,100 74,70 74,28 56,2 28,6",
            "52,14 36,-8 4,14 0,66 14,100 42,102 62,70 62,28 44,6 22,14",
            "50,2 28,8 4,44 -4,80 14,102 40,98 66,66 70,24 58,2 34,12",
        ),
    ),
    (  # 1
        (
            "32,0 31,33 30,66 30,100",
            "36,0 30,33 28,66 30,100",
            "30,0 33,33 32,66 27,100",
            "30,0 30,33 30,66 30,100",
            "42,0 36,33 27,66 20,100",
            "38,0 35,33 28,66 24,100",
        ),
        (
            "12,24 24,14 35,0 35,0 34,40 32,70 31,100",
            "18,16 28,10 34,0 34,0 31,40 31,70 32,100",
        ),
        ("14,22 24,14 34,0 34,0 33,40 32,70 32,98 / 10,99 30,98 54,99",),
    ),
    (  # 2
        (
            "4,22 8,2 34,-6 58,6 56,36 36,60 14,82 0,97 0,97 22,95 44,97 66,98",
            "2,12 16,0 34,-4 52,4 52,30 38,58 18,84 2,99 2,99 22,98 40,96 60,94",
            "6,30 2,8 30,-8 60,8 62,40 40,62 18,76 2,92 2,92 24,92 44,98 70,96",
            "2,8 20,4 40,2 60,4 46,30 30,54 14,78 0,97 0,97 22,96 44,96 66,94",
            "4,24 10,-2 40,-6 58,12 50,40 32,62 14,82 -2,98 6,86 24,88 44,104 74,88",
        ),
        (
            "4,22 8,2 36,-6 58,8 54,42 36,72 14,96 -6,96 -2,76 18,76 38,92 70,96",
            "6,14 18,2 34,-4 52,6 50,40 38,70 20,94 2,102 -6,84 12,78 34,98 62,88",
            "2,20 12,-2 44,-8 60,14 50,48 28,78 4,98 -14,88 -2,66 22,76 46,100 76,84",
        ),
    ),
    (  # 3
        (
            "4,16 16,-4 46,-4 54,20 44,40 20,46 20,46 52,48 64,72 48,100 16,102 0,86",
            "2,8 20,0 40,-2 50,14 40,34 18,44 18,44 44,44 58,66 46,94 20,102 0,96",
            "6,4 26,2 50,2 50,2 40,18 24,38 24,38 52,42 62,74 42,100 16,102 0,90",
            "8,14 22,0 44,2 46,18 36,30 20,36 20,36 58,34 70,66 46,98 18,104 -8,92",
        ),
        ("4,16 16,-4 46,-4 54,20 42,42 20,52 14,44 28,40 56,52 60,82 34,104 0,88",),
    ),
    (  # 4
        (
            "12,4 8,20 2,44 2,56 28,56 60,50 / 52,2 50,30 47,60 44,100",
            "6,8 6,24 4,40 6,52 26,54 48,46 / 50,0 50,30 48,60 46,100",
            "18,0 12,16 0,42 -2,60 28,58 66,54 / 48,20 46,40 43,70 40,100",
        ),
        (
            "46,0 34,16 14,42 0,62 0,62 22,63 44,62 68,60 / 46,0 46,30 45,65 44,100",
            "16,4 12,22 6,42 0,60 0,60 22,60 44,57 64,52 / 54,0 52,30 48,65 44,100",
            "24,2 16,22 8,40 0,58 0,58 22,58 44,56 70,54 / 50,16 48,40 44,68 40,100",
        ),
        ("8,6 5,26 0,58 20,59 50,56 54,6 54,6 52,40 49,70 46,100",),
    ),
    (  # 5
        (
            "12,4 10,16 8,30 6,44 6,44 30,34 58,50 58,84 28,106 0,90 / 9,4 34,4 62,0",
            "18,6 16,20 14,32 12,44 12,44 30,40 50,54 48,86 24,104 0,94 / 15,6 36,4 54,4",
            "22,18 20,26 14,36 10,46 10,46 28,38 48,54 42,86 18,102 -8,88 / 19,19 44,10 74,0",
        ),
        (
            "62,0 44,4 28,4 14,4 14,4 12,20 8,42 8,42 34,34 58,50 56,86 26,106 0,90",
            "60,4 44,2 30,4 20,8 20,8 14,20 10,34 18,44 36,48 52,64 40,94 18,102 0,92",
        ),
    ),
    (  # 6
        (
            "44,0 26,12 8,38 0,72 12,102 42,100 56,74 40,54 20,58 4,70",
            "30,0 20,16 8,44 2,74 12,100 34,102 46,82 36,64 20,66 4,76",
            "54,2 28,4 4,36 -2,74 18,104 50,98 58,66 38,52 16,54 0,66",
            "20,0 10,24 2,50 0,78 14,104 48,104 62,76 44,56 18,60 2,70",
            "46,0 34,14 14,40 0,66 -2,98 30,106 62,84 50,58 24,62 4,78",
        ),
    ),
    (  # 7
        (
            "0,8 18,7 38,6 56,3 56,3 48,30 36,64 28,100",
            "2,18 4,2 30,8 58,2 58,2 44,30 30,60 24,100",
            "0,4 20,2 42,0 60,6 60,16 42,42 32,70 30,100",
            "2,12 20,6 40,2 54,0 54,0 50,30 44,64 40,100",
            "4,2 20,6 40,8 62,8 62,8 44,36 24,68 14,96",
        ),
        (
            "0,20 2,12 4,4 4,4 30,10 58,2 58,2 44,30 30,60 22,100",
            "6,28 -2,10 8,0 20,4 36,10 58,0 58,0 46,30 34,64 28,100",
        ),
        (
            "0,8 18,7 38,6 56,3 56,3 48,30 36,64 28,100 / 16,52 34,50 58,46",
            "4,14 6,2 32,8 58,2 58,2 44,30 30,60 24,100 / 14,48 32,50 54,52",
        ),
    ),
    (  # 8
        (
            "52,14 38,-6 6,-4 6,26 28,44 52,60 58,92 30,106 2,94 4,66 28,48 50,30 52,8",
            "46,8 28,-6 10,6 12,28 28,46 42,62 46,90 26,104 8,92 12,66 28,48 42,32 44,6",
            "56,20 40,-4 2,-2 0,24 22,44 50,66 48,94 26,104 0,92 10,68 34,48 54,34 58,10",
            "50,14 36,-4 8,0 8,24 30,46 46,62 46,90 24,106 4,94 8,72 30,52 48,30 62,2",
            "46,8 24,-4 6,8 12,28 34,50 48,74 38,100 16,104 4,88 14,66 36,44 52,26 68,4",
        ),
        (
            "30,46 12,42 4,22 12,2 30,-4 48,2 56,22 48,42 30,46 6,54 -2,78 8,98 30,104 "
            "54,98 62,78 52,54 30,46",
            "30,44 16,38 10,22 18,4 32,-2 46,4 50,20 44,38 30,44 12,54 8,76 14,96 28,102 "
            "44,96 50,76 46,54 30,44",
        ),
    ),
    (  # 9
        (
            "50,16 36,-8 6,2 0,32 16,52 40,44 52,10 52,10 50,44 46,70 42,100",
            "44,10 30,-6 10,6 6,30 18,46 36,38 46,6 46,6 46,40 44,70 40,100",
            "54,20 42,-4 8,-4 -2,34 20,52 44,36 54,18 54,18 46,48 34,74 24,100",
            "56,8 36,-6 4,4 -2,30 14,46 38,40 54,12 54,12 48,44 40,72 34,100",
        ),
        (
            "50,16 36,-8 6,2 0,32 16,52 40,44 52,12 52,12 54,46 52,88 24,110 0,92",
            "48,16 34,-6 8,4 4,30 18,48 38,42 50,10 50,10 50,50 48,80 34,98 16,102",
        ),
    ),
)


class _Alphabet(NamedTuple):
    """`_SHAPES` as arrays, a column a shape."""

    x: _Floats  # (points, shapes), half heights from the middle; 0 where a shape has no more
    y: _Floats  # (points, shapes)
    control: _Indices  # (3, samples, shapes) the control points that make a sample
    weight: _Floats  # (3, samples, shapes) and how much of each
    digit: _Indices  # (2, 10) the first shape of a digit, and one past its last
    group: _Indices  # (2, shapes) the first shape of the shape's group, and one past its last


@cache
def _alphabet() -> _Alphabet:
    shapes: list[list[_Floats]] = []
    digit, group = [], []
    for groups in _SHAPES:
        first = len(shapes)
        for texts in groups:
            group += [(len(shapes), len(shapes) + len(texts))] * len(texts)
            shapes += [_strokes(text) for text in texts]
        digit.append((first, len(shapes)))
    outlines = [np.concatenate(strokes) for strokes in shapes]
    points = np.zeros((2, max(map(len, outlines)), len(shapes)), np.float32)
    for column, outline in enumerate(outlines):
        points[:, : len(outline), column] = ((outline - (30, 50)) / 50).T
    splines = [_spline(strokes) for strokes in shapes]
    return _Alphabet(
        x=points[0],
        y=points[1],
        control=np.stack([control for control, _ in splines], axis=-1),
        weight=np.stack([weight for _, weight in splines], axis=-1),
        digit=np.array(digit, np.intp).T,
        group=np.array(group, np.intp).T,
    )


def _strokes(shape: str) -> list[_Floats]:
    """The control points of each stroke, (points, 2)."""
    return [
        np.array([point.split(",") for point in stroke.split()], np.float32)
        for stroke in shape.split("/")
    ]


def _spline(strokes: list[_Floats]) -> tuple[_Indices, _Floats]:
    """Control points and weights, (3, `_SAMPLES`), of samples evenly spaced along the strokes."""
    controls, weights, steps = [], [], []
    earlier = 0  # points of the strokes before
    for stroke in strokes:
        control, weight = _parabolas(len(stroke) - 2)
        x, y = ((weight * p[control]).sum(axis=0) for p in stroke.T)
        dx, dy = np.diff(x, prepend=x[:1]), np.diff(y, prepend=y[:1])
        controls.append(control + earlier)
        weights.append(weight)
        steps.append(np.sqrt(dx * dx + dy * dy))
        earlier += len(stroke)
    length = np.cumsum(np.concatenate(steps))
    even = np.searchsorted(length, np.linspace(0, length[-1], _SAMPLES))
    return np.concatenate(controls, axis=1)[:, even], np.concatenate(weights, axis=1)[:, even]


def _parabolas(pieces: int, steps: int = 64) -> tuple[_Indices, _Floats]:
    """Control points and weights, (3, pieces * steps), of samples along a quadratic spline.

    A piece lies near one inner point of the control polygon: a parabola from the middle of the leg
    before to the middle of the leg after, but at either end of the stroke the whole leg.
    """
    piece = np.repeat(np.arange(pieces), steps)
    t = np.tile((np.arange(steps, dtype=np.float32) + 0.5) / steps, pieces)
    before = (1 - t) * (1 - t) * np.where(piece == 0, 1, 0.5)
    after = t * t * np.where(piece == pieces - 1, 1, 0.5)
    weight = np.stack([before, 1 - before - after, after]).astype(np.float32)
    return piece + np.arange(3)[:, np.newaxis], weight


def generate(count: int, seed: int = 0) -> tuple[_Bytes, _Bytes]:
    """Digits and what they are: images uint8 (count, 28, 28), 0 to 255, labels uint8 (count,).

    The ten digits are shuffled and equally frequent. The first images of a larger request are
    those of a smaller one with the same seed, which is 0 or more.
    """
    images = np.empty((count, _SIDE, _SIDE), np.uint8)
    labels = np.empty(count, np.uint8)
    for index, start in enumerate(range(0, count, _CHUNK)):
        here = slice(start, start + _CHUNK)
        room = len(labels[here])
        chunk_images, chunk_labels = _chunk(seed, index)
        images[here], labels[here] = chunk_images[:room], chunk_labels[:room]
    return images, labels


def _chunk(seed: int, index: int) -> tuple[_Bytes, _Bytes]:
    stream = np.random.SeedSequence(seed, spawn_key=(index,))
    rng = np.random.Generator(np.random.PCG64(stream))
    alphabet = _alphabet()
    labels = rng.permutation(np.arange(_CHUNK) % 10)
    first, end = alphabet.digit[:, labels]
    shape = rng.integers(first, end)
    x, y = _bend(rng, *_blend(rng, alphabet, shape))
    radius = _press(rng, *x.shape)
    x, y, radius = (_along(alphabet, shape, values) for values in (x, y, radius))
    softness = _uniform(rng, 0.9, 1.3, _CHUNK)
    x, y = _fit(rng, x, y, radius + 0.5 * softness)
    return _ink(x, y, radius, softness), labels.astype(np.uint8)


def _uniform(rng: np.random.Generator, low: float, high: float, *shape: int) -> _Floats:
    return rng.random(shape, dtype=np.float32) * (high - low) + low


def _bell(rng: np.random.Generator, *shape: int) -> _Floats:
    """Draws of mean 0 and variance 1, bell-shaped, within -3 to 3."""
    a, b, c = (_uniform(rng, -1, 1, *shape) for _ in range(3))
    return a + b + c


def _blend(
    rng: np.random.Generator, alphabet: _Alphabet, shape: _Indices
) -> tuple[_Floats, _Floats]:
    """Control points, x and y (points, images): the shape, or partly another of its group."""
    first, end = alphabet.group[:, shape]
    other = rng.integers(first, end)
    share = _uniform(rng, 0, 0.8, len(shape))
    # np.take and not an index, which would give another order in memory and so in sums.
    x, y = (
        np.take(p, shape, axis=1) * (1 - share) + np.take(p, other, axis=1) * share
        for p in (alphabet.x, alphabet.y)
    )
    return x, y


def _bend(rng: np.random.Generator, x: _Floats, y: _Floats) -> tuple[_Floats, _Floats]:
    """The control points as a hand sets them, all of it in half heights of the digit."""
    points, images = x.shape
    x = x + 0.045 * _bell(rng, points, images)
    y = y + 0.045 * _bell(rng, points, images)
    warp = 0.07 * _bell(rng, 6, images)
    x, y = (
        x + warp[0] * x * y + warp[1] * y * y + warp[2] * y * y * y,
        y + warp[3] * x * y + warp[4] * x * x + warp[5] * y * y,
    )
    stretch = _uniform(rng, 0.85, 1.5, images)
    slant = 0.18 + 0.2 * _bell(rng, images)
    x = stretch * x - slant * y
    tan = 0.05 * _bell(rng, images)  # of half the angle by which the digit is turned
    cos, sin = (1 - tan * tan) / (1 + tan * tan), 2 * tan / (1 + tan * tan)
    return cos * x - sin * y, sin * x + cos * y


def _press(rng: np.random.Generator, points: int, images: int) -> _Floats:
    """Half the width of the stroke, in pixels, at each control point."""
    pen = _bell(rng, images)
    pen = 1.23 + 0.3 * pen + 0.03 * pen * pen  # skewed: thick pens are rarer than fine ones
    # With half the softness of its edge, and half a pixel of rounding, it stays within reach.
    return np.minimum(pen * (1 + 0.08 * _bell(rng, points, images)), _REACH - 0.2)


def _along(alphabet: _Alphabet, shape: _Indices, values: _Floats) -> _Floats:
    """Samples (samples, images) of splines, from values (points, images) at control points."""
    control = np.take(alphabet.control, shape, axis=2)
    weight = np.take(alphabet.weight, shape, axis=2)
    samples: _Floats = (weight * np.take_along_axis(values[np.newaxis], control, axis=1)).sum(
        axis=0
    )
    return samples


def _fit(
    rng: np.random.Generator, x: _Floats, y: _Floats, reach: _Floats
) -> tuple[_Floats, _Floats]:
    """Samples in pixels, `reach` being how far the ink of each goes.

    As in MNIST, a digit fills a box one way or the other, and the middle of its ink, not of the
    box, is in the middle of the frame, as far as the margin allows.
    """
    images = x.shape[1]
    reach = reach.max(axis=0)
    longer = np.maximum(np.ptp(x, axis=0), np.ptp(y, axis=0))
    scale = (_BOX + 0.3 * _bell(rng, images) - 2 * reach) / longer
    low, high = _MARGIN + reach, _SIDE - 1 - _MARGIN - reach

    def centred(p: _Floats) -> _Floats:
        p = (p - p.mean(axis=0)) * scale + (_SIDE - 1) / 2 + 0.4 * _bell(rng, images)
        p += np.maximum(low - p.min(axis=0), 0)
        p -= np.maximum(p.max(axis=0) - high, 0)
        return p

    return centred(x), centred(y)


def _ink(x: _Floats, y: _Floats, radius: _Floats, softness: _Floats) -> _Bytes:
    """Images of round dots so close to each other that they are strokes.

    A pixel is as dark as the dot that covers it most, and edges fade over `softness` pixels.
    """
    images = x.shape[1]
    column, row = np.rint(x), np.rint(y)
    pixel = (row * _SIDE + column).astype(np.intp) + np.arange(images) * (_SIDE * _SIDE)
    # All flat: np.maximum.at is ten times slower on arrays of two dimensions.
    pixel, radius = pixel.ravel(), radius.ravel()
    right, down = (x - column).ravel(), (y - row).ravel()
    depth = np.full(images * _SIDE * _SIDE, -_SIDE, np.float32)  # how far inside a dot
    window = range(-_REACH, _REACH + 1)
    for j in window:
        for i in window:
            distance = np.sqrt((right - i) * (right - i) + (down - j) * (down - j))
            np.maximum.at(depth, pixel + (j * _SIDE + i), radius - distance)
    cover = np.clip(depth.reshape(images, -1) / softness[:, np.newaxis] + 0.5, 0, 1)
    return np.rint(cover * 255).astype(np.uint8).reshape(images, _SIDE, _SIDE)
