"""Pictures that need not be of one size, looked at one at a time or brought into memory."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Pixels
from rbmcli.errors import RbmError
from rbmcli.io.sizes import Size


@dataclass(frozen=True)
class Pictures:
    """Pictures of any sizes and one type, each (..., height, width) and made when asked for.

    where: what messages call each of them. make: one of them, given its number. noticed: what was
    noticed of those made so far, lines for the user. close: closes files, when no more is asked.
    """

    where: Sequence[str]
    make: Callable[[int], NDArray[Any]]
    noticed: Callable[[], tuple[str, ...]] = tuple
    close: Callable[[], None] = lambda: None

    @staticmethod
    def of_array(images: NDArray[Any], source: str) -> Pictures:
        """Those of an array (n, ...)."""
        return Pictures([source] * len(images), images.__getitem__)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.where)

    def __getitem__(self, number: int) -> NDArray[Any]:
        """Return one; RbmError if it cannot be made."""
        return self.make(number)

    def check_planes(self, number: int, picture: NDArray[Any], purpose: str) -> None:
        """RbmError if a picture has no rows and columns, which something needs them for."""
        if picture.ndim < 2:
            raise RbmError(
                f"{self.where[number]}: images of {picture.size} values have no rows and columns to"
                f" {purpose}; store them as (n, height, width)"
            )

    def check_size(self, number: int, picture: NDArray[Any], least: Size, what: str) -> None:
        """RbmError if a picture is smaller than `what`, which is of size `least`."""
        height, width = picture.shape[-2:]
        if height < least.height or width < least.width:
            raise RbmError(
                f"{self.where[number]}: {height}x{width} pixels (height x width), smaller than"
                f" {what} {least.text}; choose a smaller one, or leave the picture out"
            )

    def in_memory(self, chosen: NDArray[np.int64], crop: Size | None) -> Pixels:
        """The chosen ones, (n, ...) if they are of one size, else one by one.

        crop: what is cut from pictures of different sizes. RbmError where they differ without it,
        where one is smaller, or where memory does not hold them.
        """
        rows = chosen.tolist()
        first = self[rows[0]]
        self._check_room(rows, len(rows) * first.nbytes)
        result = np.empty((len(rows), *first.shape), first.dtype)
        for place, row in enumerate(rows):
            picture = self[row]
            if picture.shape == first.shape:
                result[place] = picture
                continue
            if crop is None:
                raise RbmError(
                    f"{self.where[row]}: {_size(picture)} pixels, but"
                    f" {Path(self.where[rows[0]]).name} has {_size(first)}; make all pictures of"
                    " one size, or learn --patches or a --crop of them"
                )
            mixed, size = list(result[:place]), result[:place].nbytes
            for later in rows[place:]:
                mixed.append(self[later])
                size += mixed[-1].nbytes
                self._check_room(rows, size)
            for number, each in zip(rows, mixed, strict=True):
                self.check_size(number, each, crop, "--crop")
            return mixed
        return result

    def _check_room(self, rows: list[int], size: int) -> None:
        """RbmError where the computer has not so many bytes: it would end the process unasked."""
        most = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        if size > most:
            raise RbmError(
                f"{self.where[rows[0]]} and the other pictures, {len(rows)} in all, take more than"
                f" the {most / 1e9:.3g} GB of memory that there are; take fewer with --limit, learn"
                " --patches of them, or make them smaller"
            )


def _size(picture: NDArray[Any]) -> str:
    return f"{picture.shape[-1]} x {picture.shape[-2]}"
