"""What every source becomes: images as rows, their labels if any, and where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from rbmcli.arrays import Pixels
from rbmcli.io.sources.ranges import shown

#: Images looked at together for differences, of which the first ones have some as a rule.
_TOGETHER = 256


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images held in memory as they were stored: bytes stay bytes.

    images: (n, units), C-contiguous, uint8 or float32; one flattened image a row. Or, of
        pictures of different sizes, an array (..., height, width) for each.
    image_shape: the shape of one image, such as (28, 28), (3, 32, 32) or (units,); of pictures of
        different sizes, the least height and the least width.
    scale: a uint8 value x means x / scale: 255.0, or 1.0 for 0/1 data; 1.0 for float32.
    labels: (n,) int64, or None.
    source: what the user named.
    notices: lines worth telling the user.
    labels_from: what the labels are called, or their file.
    channels: "last" where an image's channels stood behind its rows and columns, else "first".
    whitened: whether the images were. doubt: why there is nothing to learn from them, if so.
    """

    images: Pixels
    image_shape: tuple[int, ...]
    scale: float
    labels: np.ndarray | None
    source: str
    notices: tuple[str, ...] = ()
    labels_from: str = ""
    channels: str = "first"
    whitened: bool = False
    doubt: str | None = None

    @staticmethod
    def of(
        images: Pixels,
        scale: float,
        labels: np.ndarray | None,
        source: str,
        notices: tuple[str, ...],
        shape: tuple[int, ...] | None = None,
    ) -> Dataset:
        """The data set of images not yet flattened: (n, ...), or of different sizes.

        shape: that of an image, where they are flattened. Where there is nothing to be learned from
        them, `doubt` says so.
        """
        if not isinstance(images, np.ndarray):
            shape = tuple(np.min([image.shape for image in images], axis=0).tolist())
        elif shape is None:
            shape, images = images.shape[1:], images.reshape(len(images), -1)
        return Dataset(images, shape, scale, labels, source, notices, doubt=_blank(images))

    def told(self, *, labels_from: str, channels: str, whitened: bool) -> Dataset:
        """The same, which says more of where it is from."""
        return replace(self, labels_from=labels_from, channels=channels, whitened=whitened)

    def described(self, *, counts: bool = False) -> str:
        """What was read, on one line: number, shape, range, how values are taken, labels.

        counts: whether units read the stored values as they are.
        """
        shape = "x".join(map(str, self.image_shape))
        if len(self.image_shape) < 2:
            shape += " values"
        elif not isinstance(self.images, np.ndarray):
            largest = np.max([image.shape for image in self.images], axis=0)
            shape += " to " + "x".join(map(str, largest))
        what = "bytes" if self._arrays[0].dtype == np.uint8 else "numbers"
        least, most = self.extremes
        taken = "whitened" if self.whitened else "taken as they are"
        if counts and most > 1:
            taken = "taken as counts"
        elif self.scale != 1:
            taken = f"taken as {shown(least / self.scale)} to {shown(most / self.scale)}"
        labels = "no labels" if self.labels is None else f"labels from {self.labels_from}"
        count = len(self.images)
        return (
            f"{self.source}: {count} image{'' if count == 1 else 's'} of {shape}, {what}"
            f" {shown(least)} to {shown(most)} {taken}, {labels}"
        )

    def lines(self, *, counts: bool = False) -> list[str]:
        """What to tell the user once the images can be used: `described`, and the doubt."""
        doubt = [] if self.doubt is None else [f"note: {self.source}: {self.doubt}"]
        return [self.described(counts=counts), *doubt]

    @property
    def extremes(self) -> tuple[float, float]:
        """The least and the largest of the stored values."""
        arrays = self._arrays
        least, most = zip(*((array.min(), array.max()) for array in arrays), strict=True)
        return float(min(least)), float(max(most))

    @property
    def _arrays(self) -> list[np.ndarray]:
        return [self.images] if isinstance(self.images, np.ndarray) else list(self.images)

    def provenance(self) -> dict[str, str | list[int]]:
        """Say what the data are: source, shape, dtype, and the SHA-256 of the bytes in memory.

        The hash is of the content after selection, so the same images are recognised whatever
        file they come from. It reads the arrays in place, without a copy. Of pictures of different
        sizes `shape` has the least height and width, `largest` the greatest, and the hash is of all
        sizes, as int64, and then the pictures.
        """
        facts: dict[str, str | list[int]] = {
            "source": self.source,
            "shape": [len(self.images), *self.image_shape],
        }
        if isinstance(self.images, np.ndarray):
            arrays = [self.images]
        else:
            sizes = np.array([image.shape for image in self.images], np.int64)
            facts["largest"] = sizes.max(axis=0).tolist()
            arrays = [sizes, *self.images]
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(array.data)
        facts |= {"dtype": str(arrays[-1].dtype), "sha256": digest.hexdigest()}
        if self.labels is not None:
            facts["labels_sha256"] = hashlib.sha256(self.labels.data).hexdigest()
        return facts


def _blank(images: Pixels) -> str | None:
    """Why nothing can be learned from images, if so: none has two values, or all are the same."""
    flat: Iterable[np.ndarray]
    if isinstance(images, np.ndarray):
        blocks = range(0, len(images), _TOGETHER)
        flat = (images[start : start + _TOGETHER] for start in blocks)
        several = len(images) > 1
    else:
        flat = (image.reshape(1, -1) for image in images)
        several = False  # they are of different sizes
    first: np.ndarray | None = None
    plain, same = True, several
    for block in flat:
        first = block[0] if first is None else first
        plain = plain and not (block != block[:, :1]).any()
        same = same and not (block != first).any()
        if not plain and not same:
            return None
    if plain and same:
        return "every value of every image is the same, so there is nothing to learn"
    if plain:
        return "every image is blank, of a single value; look at the files"
    return "all images are the same; look at the files"
