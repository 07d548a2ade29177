"""Whitening of natural images: whole pictures, before anything is cut from them.

Olshausen and Field 1997, "Sparse coding with an overcomplete basis set: a strategy employed by
V1?": amplitudes of natural images fall as 1/f, so a filter R(f) = f exp(-(f / f0)^4) makes their
spectrum flat, but for the highest frequencies, where there is little but noise.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Doubles, Floats
from rbmcli.io.sources.pictures import Pictures

#: The frequency, in cycles a pixel, where the filter has fallen to 1/e of f: f0 of the paper, whose
#: 200 cycles are to pictures of 512 pixels.
CUTOFF = 0.4

#: Values are whole multiples of this. The last bits of a Fourier transform may be others on another
#: machine; so those of the result, and what is learned from them, are the same.
_STEP = 2.0**-14


def whitened(pictures: Pictures) -> Pictures:
    """The same pictures whitened, each when it is asked for, which may have no rows and columns."""

    def make(number: int) -> NDArray[Any]:
        picture = pictures[number]
        pictures.check_planes(number, picture, "whiten")
        return whiten(picture)

    return replace(pictures, make=make)


def whiten(picture: NDArray[Any]) -> Floats:
    """A picture (..., height, width), filtered, with mean 0 and standard deviation 1; float32.

    Each of its channels is filtered by itself, and the deviation is that of all. One of a single
    grey becomes 0, and so does one of a single colour.
    """
    if (picture.min(axis=(-2, -1)) == picture.max(axis=(-2, -1))).all():
        return np.zeros(picture.shape, np.float32)
    height, width = picture.shape[-2:]
    # A picture and its mirror images go on periodically without seams, so no edge shows that is not
    # in it. All four are filtered alike, so the mean of each is the filter's at frequency 0: 0.
    beside = [(0, 0)] * (picture.ndim - 2) + [(0, height), (0, width)]
    periodic = np.pad(picture.astype(np.float64), beside, mode="symmetric")
    spectrum = np.fft.rfft2(periodic) * _response(*periodic.shape[-2:])
    filtered = np.fft.irfft2(spectrum, s=periodic.shape[-2:])[..., :height, :width]
    values = filtered / filtered.std()
    return (np.rint(values / _STEP) * _STEP).astype(np.float32, order="C")


@lru_cache(maxsize=4)
def _response(height: int, width: int) -> Doubles:
    """R(f) at the frequencies of `rfft2`."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width))
    return frequency * np.exp(-((frequency / CUTOFF) ** 4))
