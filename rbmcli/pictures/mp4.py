"""Films as MP4, by an ffmpeg process that is fed frame by frame."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile

from rbmcli.errors import RbmError
from rbmcli.pictures.tiles import Picture


def write_mp4(path: Path, frames: Iterable[Picture], fps: float) -> None:
    """Write grey or colour pictures of one shape, at least one, at `fps` frames a second.

    Raises RbmError where no ffmpeg is found, and OSError where it fails.
    """
    ffmpeg = _find_ffmpeg()
    frames = iter(frames)
    first = next(frames)
    height, width = first.shape[:2]
    command = [ffmpeg, "-loglevel", "error", "-y"]
    command += ["-f", "rawvideo", "-pixel_format", "gray" if first.ndim == 2 else "rgb24"]
    command += ["-video_size", f"{width}x{height}", "-framerate", str(fps), "-i", "-"]
    # Players want even sizes and halved colour resolution.
    command += ["-vf", "pad=ceil(iw/2)*2:ceil(ih/2)*2", "-pix_fmt", "yuv420p"]
    command += ["-movflags", "+faststart", "-f", "mp4", str(path.absolute())]
    with TemporaryFile() as log:
        # In a session of its own, Ctrl-C does not reach it; it ends with the end of its input.
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=log, start_new_session=True
        ) as process:
            assert process.stdin is not None
            try:
                # Where ffmpeg has stopped early, its status and its log say why.
                with suppress(BrokenPipeError), process.stdin as pipe:
                    for frame in chain([first], frames):
                        pipe.write(frame.tobytes())
                process.wait()
            except BaseException:
                process.kill()  # or it would make a film of what it has, and be waited for
                raise
        if process.returncode:
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines() or ["no message"]
            raise OSError(errno.EIO, f"ffmpeg: {lines[-1]}")


def _find_ffmpeg() -> str:
    """The system's ffmpeg, else the one that the package imageio-ffmpeg brings."""
    if found := shutil.which("ffmpeg"):
        return found
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise RbmError(
            "an .mp4 needs ffmpeg: install it, or `pip install imageio-ffmpeg`, or write a .gif"
        ) from error
