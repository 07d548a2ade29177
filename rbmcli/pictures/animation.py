"""The filters of one or several runs as a stream of pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.pictures import tiles
from rbmcli.pictures.captions import beside, caption_width, captioned
from rbmcli.pictures.tiles import Picture

#: Epochs that agree to this many decimals are one moment, whatever their last bits.
_EPOCH_DECIMALS = 6

_PANEL_GAP = 8

#: Weights beyond this are drawn as it is; differences of two are float32 numbers still.
_LARGEST = 1e30


class FilterHistory(Protocol):
    """What a run must offer to be drawn.

    path: of its file. name: for the caption. snapshot: reads filters (hidden, *image shape),
    float32, by their number; NaN where they are lost. filters_epoch: the epoch of each snapshot,
    ascending; at least one.
    """

    path: Path
    name: str

    def snapshot(self, number: int, /) -> NDArray[np.float32]: ...  # noqa: D102

    @property
    def filters_epoch(self) -> NDArray[np.float64]: ...  # noqa: D102


@dataclass(frozen=True)
class Layout:
    """How the runs are drawn.

    chosen: which filters of each run. columns: None for a near-square grid. normalize: "each"
    stretches every filter on its own; "all" has one scale for all filters, frames and runs, taken
    from the runs' last snapshots. captions: whether name and epoch stand over each run.
    """

    chosen: slice
    columns: int | None = None
    scale: int = 1
    normalize: Literal["each", "all"] = "each"
    captions: bool = True


def timeline(runs: Sequence[FilterHistory], every: int = 1) -> list[float]:
    """Return every `every`-th epoch at which any of the runs has a snapshot, and the last one."""
    epochs = np.unique(np.concatenate([_epochs(run) for run in runs]))
    chosen: list[float] = epochs[::every].tolist()
    return chosen if chosen[-1] == epochs[-1] else [*chosen, float(epochs[-1])]


def filter_frames(
    runs: Sequence[FilterHistory], epochs: Sequence[float], layout: Layout
) -> Iterator[Picture]:
    """Yield a picture for each of `epochs`, with all runs side by side.

    Each run shows its latest snapshot at that time, so one that has ended holds its last. One
    snapshot is read at a time. Raises RbmError for a run that has none of the chosen filters.
    """
    limit = None
    if layout.normalize == "all":
        limit = max(tiles.common_limit(_snapshot(run, -1, layout.chosen)) for run in runs)
    panels = [
        _Panel(run, name, layout, limit)
        for run, name in zip(runs, _distinct_names(runs), strict=True)
    ]
    for epoch in epochs:
        yield beside([panel.at(epoch) for panel in panels], _PANEL_GAP * layout.scale)


class _Panel:
    """One run's part of the picture. Its size is the same at all times."""

    def __init__(self, run: FilterHistory, name: str, layout: Layout, limit: float | None) -> None:
        self._run = run
        self._layout = layout
        self._limit = limit
        self._epochs = _epochs(run)
        decimals = 0 if np.all(self._epochs == np.rint(self._epochs)) else 2
        self._captions = [f"{name}  epoch {epoch:.{decimals}f}" for epoch in self._epochs]
        self._width = max(caption_width(text, layout.scale) for text in self._captions)
        self._index = -1
        self._picture = np.empty((0, 0), np.uint8)

    def at(self, epoch: float) -> Picture:
        """The picture of the latest snapshot at `epoch`, or of the first if there is none yet."""
        index = max(int(np.searchsorted(self._epochs, epoch, side="right")) - 1, 0)
        if index != self._index:
            self._index, self._picture = index, self._draw(index)
        return self._picture

    def _draw(self, index: int) -> Picture:
        layout = self._layout
        filters = _snapshot(self._run, index, layout.chosen)
        if self._limit is None:
            shades = tiles.stretch_each(filters)
        else:
            shades = tiles.stretch_all(filters, self._limit)
        picture = tiles.grid(shades, layout.columns, layout.scale)
        if not layout.captions:
            return picture
        picture = tiles.pad(picture, right=max(self._width - picture.shape[1], 0))
        return captioned(picture, self._captions[index], layout.scale)


def _epochs(run: FilterHistory) -> NDArray[np.float64]:
    epochs = np.round(run.filters_epoch, _EPOCH_DECIMALS)
    if not len(epochs):
        raise RbmError(f"{run.path}: holds no filters yet; wait for the run's first snapshot")
    return epochs


def _snapshot(run: FilterHistory, index: int, chosen: slice) -> NDArray[np.float32]:
    snapshot = run.snapshot(index)
    filters = snapshot[chosen]
    if not len(filters):
        raise RbmError(f"{run.path}: has no filter {chosen.start}; it has 0 to {len(snapshot) - 1}")
    if not np.abs(filters).max() < _LARGEST:  # lost ones, and what no training comes to
        return np.clip(np.nan_to_num(filters, nan=0.0), -_LARGEST, _LARGEST)
    return filters


def _distinct_names(runs: Sequence[FilterHistory]) -> list[str]:
    """The runs' names; where two are the same, with the folder of each."""
    names = [run.name for run in runs]
    if len(set(names)) == len(names):
        return names
    return [f"{run.path.absolute().parent.name}/{run.name}" for run in runs]
