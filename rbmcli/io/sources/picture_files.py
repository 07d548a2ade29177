"""Files of pictures, read as greyscale."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from rbmcli.errors import RbmError
from rbmcli.io.sources.pictures import Pictures
from rbmcli.io.sources.streams import check_unpacked
from rbmcli.opening import opened

# What Pillow logs of a damaged file, it raises as well.
logging.getLogger("PIL").addHandler(logging.NullHandler())

SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"}
#: What these are to Pillow, which is to try no others: some of those run programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
#: Formats whose pages are pictures of their own, and how they begin.
_PAGED = ("GIF", "TIFF", "WEBP")
_PAGED_MAGIC = (b"GIF8", b"II", b"MM", b"RIFF")

#: Pixels of a picture, so that a small file cannot take gigabytes.
_MOST_PIXELS = 64_000_000
#: TIFF's tag of what a page is, and what it is where the page is no picture of its own: a smaller
#: copy of another, or a mask.
_KIND_OF_PAGE, _NO_PICTURE = 254, 1 | 4


def read_later(paths: Sequence[Path], folder: Path) -> tuple[Pictures, list[int]]:
    """(the pictures in these files, each (height, width) uint8; how many each file has).

    All pages of a file are pictures. folder: what notices call them together. RbmError where a
    file of several pages cannot be read; of others that shows when they are asked for.
    """
    numbers = [_pages(path) for path in paths]
    counts = [len(each) for each in numbers]
    of = [(path, page) for path, each in zip(paths, numbers, strict=True) for page in each]
    reader, transparent, first_only = _Reader(), set[int](), set[int]()

    def make(number: int) -> np.ndarray:
        path, page = of[number]
        picture = reader.page(path, page)
        grey, is_transparent = _grey(picture, path)
        if is_transparent:
            transparent.add(number)
        with _damage_told(path):
            if picture.format not in _PAGED and getattr(picture, "n_frames", 1) > 1:
                first_only.add(number)
        return grey

    def notices() -> tuple[str, ...]:
        return tuple(_notices(folder, counts, len(transparent), len(first_only)))

    return Pictures([str(path) for path, _ in of], make, notices, reader.close), counts


def read_alone(path: Path) -> np.ndarray:
    """The greys of a picture by itself, (height, width) uint8; RbmError if that is not clear.

    What is transparent, and what is on other pages, might be meant either way.
    """
    with _picture(path) as picture:
        with _damage_told(path):
            several = getattr(picture, "n_frames", 1) > 1
        if several:
            raise RbmError(f"{path}: has several pages; save the one that is meant")
        grey, is_transparent = _grey(picture, path)
    if is_transparent:
        raise RbmError(f"{path}: has transparent parts; save it in black and white")
    return grey


class _Reader:
    """Pages of files, read one after another without going back to a file's beginning."""

    def __init__(self) -> None:
        self._opened = ExitStack()
        self._path: Path | None = None
        self._picture: Image.Image

    def page(self, path: Path, page: int) -> Image.Image:
        """A page of a picture, which is open until another file's is asked for."""
        if path != self._path:
            self.close()
            self._picture = self._opened.enter_context(_picture(path))
            self._path = path
        with _damage_told(path):
            if page != self._picture.tell():
                self._picture.seek(page)
        return self._picture

    def close(self) -> None:
        self._path = None
        self._opened.close()


def _pages(path: Path) -> list[int]:
    """Numbers of a file's pages that are pictures."""
    with opened(path) as file:
        if not file.read(4).startswith(_PAGED_MAGIC):
            return [0]
    with _picture(path) as picture, _damage_told(path):
        count = getattr(picture, "n_frames", 1)
        if picture.format not in _PAGED or count == 1:
            return [0]
        check_unpacked(path, os.stat(path).st_size, picture.width * picture.height * count)
        if picture.format != "TIFF":
            return list(range(count))
        return [page for page in range(count) if _is_of_its_own(picture, page)] or [0]


def _is_of_its_own(picture: Image.Image, page: int) -> bool:
    picture.seek(page)
    kind = picture.tag_v2.get(_KIND_OF_PAGE, 0)  # type: ignore[attr-defined]
    return not (isinstance(kind, int) and kind & _NO_PICTURE)


def _grey(picture: Image.Image, path: Path) -> tuple[np.ndarray, bool]:
    """(the greys of a picture, laid on white; whether any of it is transparent)."""
    if picture.width * picture.height > _MOST_PIXELS:
        raise RbmError(
            f"{path}: {picture.width} x {picture.height} pixels, more than {_MOST_PIXELS};"
            " cut it into smaller pictures"
        )
    if picture.mode.startswith(("I", "F")):  # Pillow would clip what lies above 255.
        raise RbmError(f"{path}: has more than 8 bits a pixel; save it with 8")
    with _damage_told(path), _hushed(picture):
        if "transparency" in picture.info or {"A", "a"}.intersection(picture.getbands()):
            colours = picture if picture.mode == "RGBA" else picture.convert("RGBA")
            opaque = colours.getchannel("A")
            if opaque.getextrema()[0] != 255:
                paper = Image.new("L", picture.size, 255)
                paper.paste(colours.convert("L"), mask=opaque)
                return np.asarray(paper), True
        return np.asarray(picture.convert("L")), False


@contextmanager
def _picture(path: Path) -> Iterator[Image.Image]:
    """The first page of a picture, not read yet."""
    with opened(path) as file:
        with _damage_told(path):
            picture = Image.open(file, formats=_FORMATS)
        with picture:
            yield picture


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """One line for whatever Pillow raises, which of a damaged file may be anything."""
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    except RbmError:
        raise
    except MemoryError:
        raise RbmError(
            f"{path}: not a readable picture (it asks for more memory than there is); mend or"
            " remove it"
        ) from None
    except Image.DecompressionBombError:
        raise RbmError(
            f"{path}: more than {_MOST_PIXELS} pixels; cut it into smaller pictures"
        ) from None
    except UnidentifiedImageError:
        raise RbmError(
            f"{path}: not a readable picture (none of BMP, GIF, JPEG, PGM, PNG, TIFF and WebP);"
            " mend or remove it"
        ) from None
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise RbmError(f"{path}: not a readable picture ({reason}); mend or remove it") from None


@contextmanager
def _hushed(picture: Image.Image) -> Iterator[None]:
    """Keep libtiff from writing to standard error itself; what is wrong, Pillow raises."""
    if picture.format != "TIFF":
        yield
        return
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _notices(
    folder: Path, counts: Sequence[int], transparent: int, first_only: int
) -> Iterator[str]:
    if several := [count for count in counts if count > 1]:
        yield (
            f"{folder}: {_counted(len(several), 'file')} of several pages, {sum(several)} in all:"
            " each page is an image"
        )
    if first_only:
        yield f"{folder}: {_counted(first_only, 'picture')} of several frames: the first is taken"
    if transparent:
        yield f"{folder}: {_counted(transparent, 'picture')} with transparent parts, laid on white"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
