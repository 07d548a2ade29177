"""What `rbm sample` writes of chains: the last states as arrays or a grid, or all as animation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.io.outputs import save_arrays
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.model.layer import Layer
from rbmcli.model.states import States
from rbmcli.pictures.encode import save_picture
from rbmcli.pictures.tiles import Picture, completion_grid, image_grid

ANIMATIONS = (".gif", ".webp", ".mp4")
ARRAYS = (".npz", ".h5")

#: States of the images' units and their means, (chains, units).
Seen = tuple[States, Floats]


@dataclass(frozen=True)
class Images:
    """How states of the images' units are shown.

    originals: the images that the chains started at, if any. mask: what was kept of them, if they
    are completed.
    """

    layer: Layer
    shape: tuple[int, ...]
    preprocessing: Preprocessing | None
    originals: States | None
    mask: NDArray[np.bool_] | None

    def as_data(self, states: NDArray[Any]) -> NDArray[Any]:
        """States or their means (rows, units) as images (rows, *shape)."""
        values = self.layer.to_data(states)
        if self.preprocessing is not None:
            values = self.preprocessing.invert(values.astype(np.float32, copy=False))
        return np.ascontiguousarray(values).reshape(len(states), *self.shape)

    def limits(self) -> tuple[float, float] | None:
        """What is shown black and white; None where that is for each picture to say."""
        if self.preprocessing is None:
            return self.layer.shown_range(self.originals)
        if self.originals is None:
            return None
        seen = self.as_data(self.originals.to_array())
        return float(seen.min()), float(seen.max())

    def drawer(self, columns: int | None, scale: int) -> Callable[[Floats], Picture]:
        """What draws the means of the images' units, (chains, units), as a grid."""
        limits = self.limits()
        if self.mask is None or self.originals is None:
            return lambda means: image_grid(self.as_data(means), columns, scale, limits)
        originals = self.as_data(self.originals.to_array())
        kept = self.mask.reshape(originals.shape[1:])
        return lambda means: completion_grid(
            originals, kept, self.as_data(means), columns, scale, limits
        )


def finite(walk: Iterator[Seen], run_file: Path) -> Iterator[Seen]:
    """The walk; RbmError where states grow without bound."""
    for step, (states, means) in enumerate(walk):
        if not np.isfinite(means).all():
            raise RbmError(
                f"{run_file}: after {step} Gibbs steps the chains have run away: the weights of"
                " two layers without upper bounds are too large; train with --max-spectral-norm"
                " 0.8, or filters that move over images with a smaller --max-norm"
            )
        yield states, means


def write(
    output: Path,
    walk: Iterator[Seen],
    seen: Callable[[int, States, Floats], Seen],
    images: Images,
    picture: Callable[[Floats], Picture],
    *,
    frames: set[int],
    fps: float,
    force: bool,
) -> None:
    """Write what is seen of the walk, by the suffix of `output`.

    seen: states of the images' units and their means, given a step's number and what the chains
    then are. frames: the steps that an animation shows; the last one is all else that is written.
    """
    suffix = output.suffix.lower()
    if suffix in ANIMATIONS:
        shown = (
            picture(seen(number, *step)[1]) for number, step in enumerate(walk) if number in frames
        )
        save_picture(output, shown, fps=fps, force=force)
        return
    for number, step in enumerate(walk):  # noqa: B007
        pass
    samples, means = seen(number, *step)
    if suffix in ARRAYS:
        arrays = {"samples": samples.to_array(), "means": means}
        arrays = {name: images.as_data(values) for name, values in arrays.items()}
        save_arrays(output, arrays, force=force)
    else:
        save_picture(output, iter([picture(means)]), force=force)
