"""A folder of pictures, read as greyscale; if they are in sub-folders, those are the labels."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from PIL import Image

from rbmcli.errors import RbmError
from rbmcli.io.sources.prepare import Raw

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff", ".webp"}


def read(folder: Path) -> Raw:
    """Read all pictures of `folder`, sorted by name, into (n, height, width) uint8.

    Pictures in sub-folders get labels: the folders' names where all are whole numbers, else the
    folders' places in the sorted list. Other files and hidden ones are passed over. Raises
    RbmError if there is no picture, one cannot be read, or their sizes differ.
    """
    direct = _pictures(folder)
    classes = {
        child.name: pictures
        for child in sorted(folder.iterdir())
        if _is_visible_folder(child) and (pictures := _pictures(child))
    }
    if direct and classes:
        raise RbmError(
            f"{folder}: has pictures both beside and inside its sub-folders; keep one of the two"
        )
    if direct:
        return Raw(_read_pictures(direct))
    if not classes:
        raise RbmError(f"{folder}: no pictures in this folder or its sub-folders; name another")
    numbers, notices = _number(list(classes))
    labels = np.repeat(numbers, [len(pictures) for pictures in classes.values()])
    return Raw(_read_pictures([p for each in classes.values() for p in each]), labels, notices)


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in _SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _number(names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    if all(name.isdecimal() for name in names):
        return np.array([int(name) for name in names], np.int64), ()
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    notice = textwrap.shorten(f"labels are sub-folders: {meaning}", 200, placeholder=" ...")
    return np.arange(len(names)), (notice,)


def _read_pictures(paths: list[Path]) -> np.ndarray:
    first = read_picture(paths[0])
    pictures = np.empty((len(paths), *first.shape), np.uint8)
    for path, target in zip(paths, pictures, strict=True):
        picture = read_picture(path)
        if picture.shape != first.shape:
            raise RbmError(
                f"{path}: {_size(picture)} pixels, but {paths[0].name} has {_size(first)}; "
                "make all pictures of one size"
            )
        target[:] = picture
    return pictures


def read_picture(path: Path) -> np.ndarray:
    """Return the greys of a picture, (height, width) uint8; RbmError if it cannot be read."""
    try:
        with Image.open(path) as picture:
            if picture.mode.startswith(("I", "F")):  # Pillow would clip what lies above 255.
                raise RbmError(f"{path}: has more than 8 bits a pixel; save it with 8")
            return np.asarray(picture.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # Pillow names the file in some of its messages and not in others.
        reason = str(error).replace(f" {str(path)!r}", "")
        raise RbmError(f"{path}: not a readable picture ({reason}); mend or remove it") from None


def _size(picture: np.ndarray) -> str:
    return f"{picture.shape[1]} x {picture.shape[0]}"
