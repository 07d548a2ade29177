"""A folder of pictures, read as greyscale; if they are in sub-folders, those are the labels."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np

from rbmcli.errors import RbmError
from rbmcli.io.sources.picture_files import SUFFIXES, read_later
from rbmcli.io.sources.prepare import Raw


def read(folder: Path) -> Raw:
    """Find all pictures of `folder`, sorted by name.

    Pictures in sub-folders get labels: the folders' names where all are whole numbers, else the
    folders' places in the sorted list. All pages of a file are pictures. Other files and hidden
    ones are passed over. Raises RbmError if there is no picture.
    """
    direct = _files(folder)
    classes = {
        child.name: files
        for child in sorted(folder.iterdir())
        if _is_visible_folder(child) and (files := _files(child))
    }
    if direct and classes:
        raise RbmError(
            f"{folder}: has pictures both beside and inside its sub-folders; keep one of the two"
        )
    if direct:
        return Raw(read_later(direct, folder)[0])
    if not classes:
        raise RbmError(f"{folder}: no pictures in this folder or its sub-folders; name another")
    numbers, notices = _number(list(classes))
    pictures, pages = read_later([path for each in classes.values() for path in each], folder)
    labels = np.repeat(numbers, [len(each) for each in classes.values()]).repeat(pages)
    return Raw(pictures, labels, "its sub-folders", notices)


def _is_visible_folder(path: Path) -> bool:
    return path.is_dir() and not path.name.startswith(".")


def _files(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
    )


def _number(names: list[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    if all(name.isdecimal() and len(name) < 19 for name in names):
        numbers = np.array([int(name) for name in names], np.int64)
        if len(np.unique(numbers)) == len(names):  # 7 and 07 are two
            return numbers, ()
    meaning = ", ".join(f"{number} {name}" for number, name in enumerate(names))
    notice = textwrap.shorten(f"labels are sub-folders: {meaning}", 200, placeholder=" ...")
    return np.arange(len(names)), (notice,)
