"""Streams of pictures to files: GIF, WebP, MP4 and PNG, chosen by the file's suffix."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.files import new_file
from rbmcli.pictures.gif import write_gif
from rbmcli.pictures.mp4 import write_mp4
from rbmcli.pictures.tiles import Picture

#: How long the last frame of an animation stays, in seconds.
_HOLD = 2.0

#: The largest width or height that a format can hold, in pixels.
_LARGEST = {".gif": 65_535, ".webp": 16_383}

#: Few greys compress better without loss than with it; a loop needs no key frames (kmax).
_WEBP = {"lossless": True, "quality": 25, "method": 2, "kmax": 0, "loop": 0}


def save_picture(
    path: Path,
    frames: Iterable[Picture],
    *,
    fps: float = 10.0,
    greys: int = 16,
    force: bool = False,
) -> None:
    """Write `frames`, pictures of one shape and at least one, in the format of `path`'s suffix.

    .gif, .webp: an animation that loops for ever, in `greys` greys (2 to 255), each pixel at most
    one step off; colours become greys. .mp4: a film, with colours. .png: the last frame, exact.

    Frames are taken one by one and not kept, except that a .webp is gathered in memory in its
    compressed form. The file appears under its name when it is complete.

    Raises RbmError where `path` exists (unless `force`), has another suffix or cannot be written,
    where a picture is too large for the format, and where a film needs an ffmpeg to be installed.
    """
    suffix = path.suffix.lower()
    if suffix not in _ENCODERS:
        raise RbmError(f"{path}: give it one of the suffixes {', '.join(_ENCODERS)}")
    with new_file(path, force=force) as aside:
        _ENCODERS[suffix](aside, _not_too_large(frames, path), fps, greys)


def _save_gif(path: Path, frames: Iterable[Picture], fps: float, greys: int) -> None:
    with path.open("wb") as file:
        write_gif(file, _timed(map(_grey, frames), fps), greys)


def _save_webp(path: Path, frames: Iterable[Picture], fps: float, greys: int) -> None:
    """Convert a GIF: Pillow reads that frame by frame, but would hold a list of pictures whole."""
    durations = []

    def timed() -> Iterator[tuple[Picture, int]]:
        for picture, duration in _timed(map(_grey, frames), fps):
            durations.append(duration)
            yield picture, duration

    with TemporaryFile(dir=path.parent) as gif:
        write_gif(gif, timed(), greys)
        with Image.open(gif) as animation:
            animation.save(path, "WEBP", save_all=True, duration=durations, **_WEBP)


def _save_mp4(path: Path, frames: Iterable[Picture], fps: float, _greys: int) -> None:
    write_mp4(path, _last_held(frames, round(_HOLD * fps)), fps)


def _save_png(path: Path, frames: Iterable[Picture], _fps: float, _greys: int) -> None:
    (last,) = deque(frames, maxlen=1)
    Image.fromarray(last).save(path, "PNG")


_ENCODERS = {".gif": _save_gif, ".webp": _save_webp, ".mp4": _save_mp4, ".png": _save_png}


def _grey(picture: Picture) -> Picture:
    return picture if picture.ndim == 2 else np.asarray(Image.fromarray(picture).convert("L"))


def _timed(frames: Iterable[Picture], fps: float) -> Iterator[tuple[Picture, int]]:
    """Pair each frame with its duration in milliseconds.

    GIF counts hundredths of a second: durations are whole ones, and 1 / fps on average.
    """
    clock = 0
    frames = iter(frames)
    current = next(frames)
    for number, following in enumerate(frames, start=1):
        end = round(100 * number / fps)
        yield current, 10 * (end - clock)
        current, clock = following, end
    yield current, 10 * round(100 * max(_HOLD, 1 / fps))


def _last_held(frames: Iterable[Picture], times: int) -> Iterator[Picture]:
    """Give the last frame `times` times in all, at least once."""
    for frame in frames:
        yield frame
    yield from [frame] * (times - 1)


def _not_too_large(frames: Iterable[Picture], path: Path) -> Iterator[Picture]:
    largest = _LARGEST.get(path.suffix.lower())
    for frame in frames:
        height, width = frame.shape[:2]
        if largest is not None and max(height, width) > largest:
            raise RbmError(
                f"{path}: {width} x {height} pixels, but a {path.suffix} holds {largest} at most;"
                " choose fewer tiles or a smaller scale"
            )
        yield frame
