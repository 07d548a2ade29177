"""Stacks of given kinds and sizes with random parameters, as arrays and as run files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from rbmcli.cli.main import run as rbm
from rbmcli.model.units import unit_kind


def stack_arrays(
    image_shape: tuple[int, ...], kinds: Sequence[str], hidden: Sequence[int], classes: int = 0
) -> dict[str, Any]:
    """The arrays of a stack as `rbm export` writes them, parameters of order 1, float32.

    kinds: of the images' units and of each layer's hidden units.
    """
    rng = np.random.default_rng(7)
    arrays: dict[str, Any] = {"image_shape": np.array(image_shape)}
    below = int(np.prod(image_shape))
    for number, units in enumerate(hidden):
        top = number == len(hidden) - 1
        visible = below + (classes if top else 0)
        own = {"weights": rng.normal(0, visible**-0.5, (visible, units))}
        for place, kind, count in (
            ("visible", kinds[number], visible),
            ("hidden", kinds[number + 1], units),
        ):
            own[f"{place}_bias"] = rng.normal(0, 0.5, count)
            if unit_kind(kind).has_sigma:
                own[f"{place}_log_sigma"] = rng.normal(0, 0.3, count)
            arrays[f"{number}/{place}_kind"] = np.array(kind)
        arrays |= {f"{number}/{name}": x.astype(np.float32) for name, x in own.items()}
        below = units
    return arrays | ({"classes": np.array(classes)} if classes else {})


def write_stack(path: str, *arguments: Any) -> dict[str, Any]:
    """A run file of such a stack; its arrays are in stack.npz too. Returns them."""
    arrays = stack_arrays(*arguments)
    np.savez("stack.npz", **arrays)
    assert rbm(["import", "stack.npz", "-o", path, "--quiet"]) == 0
    return arrays
