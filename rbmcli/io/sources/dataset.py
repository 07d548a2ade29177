"""What every source becomes: images as rows, their labels if any, and where they came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images held in memory as they were stored: bytes stay bytes.

    images: (n, units), C-contiguous, uint8 or float32; one flattened image a row.
    image_shape: the shape of one image, such as (28, 28), (3, 32, 32) or (units,).
    scale: a uint8 value x means x / scale: 255.0, or 1.0 for 0/1 data; 1.0 for float32.
    labels: (n,) int64, or None.
    source: what the user named.
    notices: lines worth telling the user.
    """

    images: np.ndarray
    image_shape: tuple[int, ...]
    scale: float
    labels: np.ndarray | None
    source: str
    notices: tuple[str, ...] = ()

    def provenance(self) -> dict[str, str | list[int]]:
        """Say what the data are: source, shape, dtype, and the SHA-256 of the bytes in memory.

        The hash is of the content after selection, so the same images are recognised whatever
        file they come from. It reads the arrays in place, without a copy.
        """
        facts: dict[str, str | list[int]] = {
            "source": self.source,
            "shape": [len(self.images), *self.image_shape],
            "dtype": str(self.images.dtype),
            "sha256": hashlib.sha256(self.images.data).hexdigest(),
        }
        if self.labels is not None:
            facts["labels_sha256"] = hashlib.sha256(self.labels.data).hexdigest()
        return facts
