"""Named arrays to .npz and .h5 files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.files import new_file


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], *, force: bool) -> None:
    """Write arrays under their names, as .npz or .h5 by the suffix of `path`.

    RbmError where `path` exists (unless `force`) or cannot be written.
    """
    with new_file(path, force=force) as aside:
        if path.suffix.lower() == ".npz":
            with aside.open("wb") as file:
                np.savez(file, allow_pickle=False, **arrays)
        else:
            with h5py.File(aside, "w") as file:
                for name, values in arrays.items():
                    file.create_dataset(name, data=values, track_times=False)
