"""What every source becomes: images as rows, their labels if any, and where they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from rbmcli.arrays import Pixels


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
    """

    images: Pixels
    image_shape: tuple[int, ...]
    scale: float
    labels: np.ndarray | None
    source: str
    notices: tuple[str, ...] = ()

    @staticmethod
    def of(
        images: Pixels,
        scale: float,
        labels: np.ndarray | None,
        source: str,
        notices: tuple[str, ...],
    ) -> Dataset:
        """The data set of images not yet flattened: (n, ...), or of different sizes."""
        if isinstance(images, np.ndarray):
            shape, images = images.shape[1:], images.reshape(len(images), -1)
        else:
            shape = tuple(np.min([image.shape for image in images], axis=0).tolist())
        return Dataset(images, shape, scale, labels, source, notices)

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
