"""Images that look wrong for the units that read them: not refused, but told."""

from __future__ import annotations

import numpy as np

from rbmcli.learning.batch import Images
from rbmcli.model.units import UnitKind

#: Images that tell what images are like.
_LOOKED_AT = 1000
#: A largest byte below this is no white.
_DARK = 64
#: How many times more, or less, than the units' deviation that of the data may be.
_FAR = 3.3


def doubts(images: Images, kind: UnitKind, where: str) -> list[str]:
    """What is odd about images made for a kind of unit, lines for the user.

    images: as `for_kind` returns them. where: what the user calls them.
    """
    if kind.takes_any_number:
        return _deviation(images, kind, where)
    if images.scale == 1 or images.preprocessing is not None or images.are_counts:
        return []
    most = max(int(array.max()) for array in _arrays(images))
    if not 1 < most < _DARK:
        return []
    return [
        f"{where}: the largest value is {most}, and bytes are read as x / 255, so the images are"
        f" nearly black; where {most} is meant to be white, store x / {most} as floats, or train"
        f" binomial:{most} visible units"
    ]


def _arrays(images: Images) -> list[np.ndarray]:
    return [images.pixels] if isinstance(images.pixels, np.ndarray) else list(images.pixels)


def _deviation(images: Images, kind: UnitKind, where: str) -> list[str]:
    """Units of a given deviation learn little from data of quite another one."""
    if kind.has_sigma and kind.given_sigma is None:
        return []
    sigma = kind.given_sigma or 1.0
    rows = images.rows[:: max(1, len(images.rows) // _LOOKED_AT)]
    pixels, index, scale = images.gather(rows)
    values = pixels[index] / np.float32(scale)
    deviation = float(np.sqrt(values.var(axis=0, dtype=np.float64).mean()))
    if deviation == 0 or sigma / _FAR <= deviation <= sigma * _FAR:
        return []
    remedy = "add --preprocess standardize, or train gaussian:learned visible units"
    return [
        f"{where}: values deviate by {deviation:.2g} from their means, where {kind.name} units"
        f" expect {sigma:g}; {remedy}"
    ]
