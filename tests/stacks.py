"""Stacks of given kinds and sizes with random parameters, as arrays and as run files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rbmcli.cli.main import run as rbm
from rbmcli.model.units import unit_kind


class Filters(NamedTuple):
    """The hidden units of a convolution."""

    number: int
    height: int
    width: int
    pool: int


def stack_arrays(
    image_shape: tuple[int, ...],
    kinds: Sequence[str],
    hidden: Sequence[int | Filters],
    classes: int = 0,
) -> dict[str, Any]:
    """The arrays of a stack as `rbm export` writes them, parameters of order 1, float32.

    kinds: of the images' units and of each layer's hidden units.
    """
    rng = np.random.default_rng(7)
    arrays: dict[str, Any] = {"image_shape": np.array(image_shape)}
    below: tuple[int, ...] = (*image_shape[-2:], math.prod(image_shape[:-2]))
    for number, units in enumerate(hidden):
        top = number == len(hidden) - 1
        if isinstance(units, Filters):
            height, width, channels = below
            shape = (units.number, channels, units.height, units.width)
            own = {"weights": rng.normal(0, math.prod(shape[1:]) ** -0.5, shape)}
            counts = channels, units.number
            arrays[f"{number}/pool"] = np.array(units.pool)
            places = height - units.height + 1, width - units.width + 1
            below = (places[0] // units.pool, places[1] // units.pool, units.number)
        else:
            visible = math.prod(below) + (classes if top else 0)
            own = {"weights": rng.normal(0, visible**-0.5, (visible, units))}
            counts = visible, units
            below = (units,)
        for place, kind, count in (
            ("visible", kinds[number], counts[0]),
            ("hidden", kinds[number + 1], counts[1]),
        ):
            own[f"{place}_bias"] = rng.normal(0, 0.5, count)
            if unit_kind(kind).has_sigma:
                own[f"{place}_log_sigma"] = rng.normal(0, 0.3, count)
            arrays[f"{number}/{place}_kind"] = np.array(kind)
        arrays |= {f"{number}/{name}": x.astype(np.float32) for name, x in own.items()}
    return arrays | ({"classes": np.array(classes)} if classes else {})


def write_stack(path: str, *arguments: Any) -> dict[str, Any]:
    """A run file of such a stack; its arrays are in stack.npz too. Returns them."""
    arrays = stack_arrays(*arguments)
    np.savez("stack.npz", **arrays)
    assert rbm(["import", "stack.npz", "-o", path, "--quiet"]) == 0
    return arrays
