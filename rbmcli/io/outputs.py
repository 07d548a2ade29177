"""Named arrays to .npz, .h5 and .safetensors files."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.errors import RbmError
from rbmcli.files import new_file, write_at
from rbmcli.io.hdf5_image import FileImage, reserve


@dataclass(frozen=True)
class Rows:
    """An array that is made some rows at a time, while it is written.

    blocks: its rows in order, each block (rows, *shape[1:]); read once.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Iterable[NDArray[Any]]

    @staticmethod
    def of(array: NDArray[Any]) -> Rows:
        """An array that is there already."""
        return Rows(array.shape, array.dtype, [array])


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any] | Rows], *, force: bool) -> None:
    """Write arrays under their names, as .npz or .h5 by the suffix of `path`.

    No more than a block of `Rows` is in memory at a time. RbmError where `path` exists (unless
    `force`) or cannot be written.
    """
    rows = {name: x if isinstance(x, Rows) else Rows.of(x) for name, x in arrays.items()}
    with new_file(path, force=force) as aside:
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
                for name, array in rows.items():
                    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                        _write_npy(file, array)
        else:
            _write_hdf5(aside, rows)


def check_tensors(path: Path) -> None:
    """RbmError where the package is missing that writes tensors."""
    try:
        import safetensors.numpy  # noqa: F401 - only to see that it is there
    except ImportError as error:
        raise RbmError(
            f"{path}: a .safetensors file needs a package: `pip install safetensors`, or write an"
            " .npz"
        ) from error


def save_tensors(
    path: Path, tensors: Mapping[str, Floats], about: Mapping[str, Any], *, force: bool
) -> None:
    """Write tensors under their names as .safetensors.

    about: what JSON can hold; it becomes the metadata "rbm", the only one, since the format keeps
    several in no order. RbmError where `path` exists (unless `force`) or cannot be written, and
    where the package safetensors is missing.
    """
    check_tensors(path)
    from safetensors.numpy import save

    whole = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    content = save(whole, {"rbm": json.dumps(about)})
    with new_file(path, force=force) as aside:
        aside.write_bytes(content)


def _write_npy(file: IO[bytes], array: Rows) -> None:
    header = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
    }
    np.lib.format.write_array_header_1_0(file, header)
    for block in array.blocks:
        file.write(np.ascontiguousarray(block, array.dtype).data)


def _write_hdf5(path: Path, arrays: Mapping[str, Rows]) -> None:
    image = FileImage()
    with h5py.File(image, "w") as layout:
        places = [reserve(layout, name, x.shape, x.dtype) for name, x in arrays.items()]
    with path.open("wb") as file:
        image.write_to(file.fileno())
        for place, array in zip(places, arrays.values(), strict=True):
            for block in array.blocks:
                content = np.ascontiguousarray(block, array.dtype)
                write_at(file.fileno(), content.data, place)
                place += content.nbytes
