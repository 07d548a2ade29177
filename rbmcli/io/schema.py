"""The gate of run files: everything in one is looked at here before any of it is used.

What a run file may hold is said once, in the tables below: names, types, ranks, shapes against each
other, the types of options. What does not fit is a ValueError with a few words, which readers tell
as damage; what would bring in other files is refused by name. Values of arrays are looked at when
they are read (`checked`), so that what is not asked for costs nothing. Sizes that only a model
knows, as of chains, are compared when it is given them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from rbmcli.errors import RbmError
from rbmcli.io.confined import (
    Entry,
    Form,
    LeadsOut,
    attribute,
    entries,
    form_of,
    in_its_folder,
    open_hdf5,
)

FORMAT_NAME = "rbm run"
#: The version that is written, and those that are read.
FORMAT_VERSION = 2
READABLE = (1, 2)

#: Key of the section of a file that holds a single model, at the root, and of the last phase.
ROOT = ""
UP_DOWN = "up-down"
#: Data set of the filters, and that of their checksums, one for each snapshot; since version 2.
DATASET = "filters"
CHECKSUMS = "filters_crc32"
#: Data sets that a section keeps itself. Every other one but the filters is part of the state.
TABLES = ("filters_epoch", CHECKSUMS, "metrics", "metrics_wall_clock")

#: Names of files that hold filters beside a run file.
PART_NAME = re.compile(r"[^/\0]+\.filters\.\d{1,18}")

#: Most values of an image, of a layer's units or of an option's text.
_MOST_PIXELS = 1 << 26
_MOST_TEXT = 1 << 16
#: Most units of a group, such as those of `softmax:N`.
_MOST_GROUP = 1024


def layer_key(index: int) -> str:
    """Key of the section of the layer `index`, counted from 0 at the bottom of the stack."""
    return f"layers/{index}"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 1 << 62


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= _MOST_TEXT


def _list_of(fits_in: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, list) and all(map(fits_in, value))


def _parsed_as(name: str) -> Callable[[Any], bool]:
    def fits_in(value: Any) -> bool:
        from rbmcli.io import sizes  # few runs have any

        try:
            getattr(sizes, name).parse(value)
        except (RbmError, TypeError, AttributeError):
            return False
        return True

    return fits_in


def _is_integer(value: Any) -> bool:
    return type(value) is int and abs(value) < 1 << 62


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_sha256(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None


_is_shape = _list_of(lambda value: _is_count(value) and value > 0)

#: Options that readers of a run file go by, and how their values look. The others are compared, or
#: read as the command line reads them.
_OPTIONS: Mapping[str, Callable[[Any], bool]] = {
    "add-layer": _list_of(_is_text),
    "algorithm": _is_text,
    "binarize": _is_text,
    "channels": lambda value: value in ("first", "last"),
    "classes": lambda value: _is_count(value) and value <= 1 << 20,
    "conv": _parsed_as("Filters"),
    "crop": _parsed_as("Size"),
    "epochs": _is_count,
    "hidden": _is_count,
    "hidden-kind": _is_text,
    "label-units": _is_bool,
    "labels": _is_text,
    "limit": lambda value: _is_count(value) and value > 0,
    "only": _list_of(_is_integer),
    "pad": lambda value: _is_count(value) and value <= 1000,
    "patches": _parsed_as("Patches"),
    "pool": lambda value: _is_count(value) and value > 0,
    "preprocess": _is_text,
    "seed": _is_count,
    "up-down": _is_text,
    "validation": _is_text,
    "visible-kind": _is_text,
    "whiten": _is_bool,
}
#: What is said of data.
_DATA: Mapping[str, Callable[[Any], bool]] = {
    "counts": _is_bool,
    "dtype": _is_text,
    "fraction": lambda value: isinstance(value, float) and 0 < value < 1,
    "imported_from": _is_text,
    "labels_sha256": _is_sha256,
    "largest": _is_shape,
    "sha256": _is_sha256,
    "shape": _is_shape,
    "source": _is_text,
}


class SectionPlan(NamedTuple):
    """What was found of a section: the paths of the values of its state, and its tables."""

    key: str
    config: dict[str, Any]
    finished: bool
    state: list[str]
    tables: dict[str, NDArray[Any]]


class RunPlan(NamedTuple):
    """What was found of a run file as a whole; `rbmcli.io.runfile` says what it means."""

    version: int
    program: str
    config: dict[str, Any]
    data: dict[str, Any]
    image_shape: tuple[int, ...]
    finished: bool
    sections: list[SectionPlan]


def is_run_file(file: h5py.File) -> bool:
    """Whether an HDF5 file says that it is a run file."""
    try:
        return bool(attribute(file, "format") == FORMAT_NAME)
    except (KeyError, ValueError):
        return False


def version_of(file: h5py.File) -> int:
    """The version of a run file. ValueError where it is no whole number."""
    version = attribute(file, "version")
    if type(version) is not int:
        raise ValueError("version is no whole number")
    return version


def plan_of(file: h5py.File, path: Path, folder: Path, file_bytes: int) -> RunPlan:
    """Look a run file over; `folder` is the one that its parts are in.

    ValueError or KeyError for what cannot be, LeadsOut for what would bring in other files.
    """
    found = {entry.name: _checked_entry(entry, path, folder, file_bytes) for entry in entries(file)}
    _check_apart(found.values())
    version = version_of(file)
    image_shape = _image_shape(file)
    config = _object(attribute(file, "config"), "config")
    _check_values(config, _OPTIONS, "config")
    data = _object(attribute(file, "data"), "data")
    _check_data(data)
    plan = RunPlan(
        version,
        _text(attribute(file, "program"), "program"),
        config,
        data,
        image_shape,
        _bool(attribute(file, "finished"), "finished"),
        [],
    )
    keys = _keys(found)
    _check_number_of_layers(keys, config)
    for key in keys:
        plan.sections.append(_section(file, key, found, plan))
    return plan


def part_form(path: Path, dataset: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the filters in a part of a run file.

    LeadsOut where it would bring in other files, ValueError where it is no part, OSError where it
    cannot be read.
    """
    with open_hdf5(path) as file:
        found = {entry.name: entry.item for entry in entries(file)}
        item = found.get(dataset.lstrip("/"))
        if not isinstance(item, h5py.h5d.DatasetID):
            raise ValueError(f"{path.name} holds no {dataset}")
        form = form_of(item)
        for name, _ in form.others:
            raise LeadsOut(
                f"{path}: {dataset} is in the file {name}: a part of a run holds its own filters"
            )
        if not form.fits(path.stat().st_size):
            raise ValueError(f"{path.name} is cut short")
        return form.shape, form.dtype


def checked(name: str, value: Any) -> Any:
    """A value of the state as read; ValueError where its numbers are not finite."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        # Where the sum is finite all are; where it is not, it may only have overflowed.
        with np.errstate(over="ignore", invalid="ignore"):
            total = value.sum(dtype=np.float64) if value.size else 0.0
        if not math.isfinite(total) and not np.isfinite(value).all():
            raise ValueError(f"{name} has values that are NaN or infinite")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} is {value}")
    return value


class _Stored(NamedTuple):
    """A data set of the file: itself, to be read, where it is, and its form."""

    id: h5py.h5d.DatasetID
    address: int
    form: Form

    @property
    def shape(self) -> tuple[int, ...]:
        return self.form.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.form.dtype

    def read(self) -> Any:
        return h5py.Dataset(self.id)[()]


_Found: TypeAlias = h5py.h5g.GroupID | _Stored


def _keys(found: Mapping[str, _Found]) -> list[str]:
    """The keys of the sections, in the order of training."""
    if "layers" not in found:
        if UP_DOWN in found:
            raise ValueError("it has up-down and no layers")
        return [ROOT]
    names = [name for name in found if re.fullmatch(r"layers/[^/]+", name)]
    keys = [layer_key(index) for index in range(len(names) or 1)]
    if sorted(names) != sorted(keys):
        raise ValueError("its layers are not numbered from 0")
    return [*keys, UP_DOWN] if UP_DOWN in found else keys


def _section(file: h5py.File, key: str, found: Mapping[str, _Found], run: RunPlan) -> SectionPlan:
    """Look a section over."""
    group, prefix = file, ""
    config, finished = run.config, run.finished
    if key != ROOT:
        item = found[key]
        if isinstance(item, _Stored):
            raise ValueError(f"{key} is no group")
        group, prefix = h5py.Group(item), f"{key}/"
        config = _object(attribute(group, "config"), f"{key}: config")
        _check_values(config, _OPTIONS, f"{key}: config")
        finished = _bool(attribute(group, "finished"), f"{key}: finished")
    datasets = {
        name.removeprefix(prefix): item
        for name, item in found.items()
        if name.startswith(prefix) and isinstance(item, _Stored)
    }
    try:
        tables = _tables(datasets, run.version)
        _check_state(datasets, config)
    except (KeyError, ValueError) as error:
        raise ValueError(f"{key}: {error.args[0]}" if key else str(error.args[0])) from None
    state = sorted(name for name in datasets if name not in (*TABLES, DATASET))
    return SectionPlan(key, config, finished, state, tables)


def _tables(datasets: Mapping[str, _Stored], version: int) -> dict[str, NDArray[Any]]:
    """The tables of a section, which belong to each other and to its filters."""
    for name in (DATASET, *TABLES):
        if name not in datasets and (name != CHECKSUMS or version >= 2):
            raise KeyError(f"it has no {name}")
    filters = datasets[DATASET]
    if filters.dtype != np.dtype("<f4") or len(filters.shape) < 2:
        raise ValueError(f"filters have shape {filters.shape}, type {filters.dtype}")
    rows = filters.shape[0]
    tables = {}
    for name, dtype in (("filters_epoch", "<f8"), (CHECKSUMS, "<u4")):
        if name in datasets:
            if datasets[name].shape != (rows,) or datasets[name].dtype != np.dtype(dtype):
                raise ValueError(f"{name} is not for {rows} snapshots")
            tables[name] = datasets[name].read()
    if not np.isfinite(tables["filters_epoch"]).all():
        raise ValueError("filters_epoch has values that are no numbers")
    for name, needed in (("metrics", ("epoch",)), ("metrics_wall_clock", ("seconds",))):
        columns = datasets[name].dtype
        if len(datasets[name].shape) != 1 or not columns.names:
            raise ValueError(f"{name} is no table")
        if any(columns[column] != np.dtype("<f8") for column in columns.names):
            raise ValueError(f"{name} has columns that are no float64")
        table = datasets[name].read()
        for column in needed if len(table) else ():
            if column not in columns.names or not np.isfinite(table[column]).all():
                raise ValueError(f"{name} has no numbers in {column}")
            if (np.abs(table[column]) > 2.0**53).any():
                raise ValueError(f"{name} has absurd numbers in {column}")
        tables[name] = table
    if len(tables["metrics"]) != len(tables["metrics_wall_clock"]):
        raise ValueError("its tables of metrics are not of one length")
    return tables


#: How many dimensions parameters may have, by the last part of their names, and what is kept of
#: training, by name; of what is not listed, any.
_PARAMETER_RANKS: Mapping[str, tuple[int, ...]] = {
    "weights": (2, 4),
    "generative_weights": (2, 4),
    "visible_bias": (1,),
    "hidden_bias": (1,),
    "visible_log_sigma": (1,),
    "hidden_log_sigma": (1,),
}
_TRAINING_RANKS: Mapping[str, tuple[int, ...]] = {
    "trainer/step": (0,),
    "trainer/offset/age": (0,),
    "trainer/activity": (1,),
    "trainer/chains/beta": (1,),
    "trainer/chains/rejection": (1,),
    "trainer/chains/reference": (1,),
    "trainer/chains/hidden": (2,),
}
#: What has the names of parameters.
_LIKE_PARAMETERS = ("model/", "trainer/velocity/", "trainer/fast/")


def _ranks(name: str) -> tuple[int, ...] | None:
    if name.startswith(_LIKE_PARAMETERS):
        return _PARAMETER_RANKS.get(name.rpartition("/")[2])
    if name.startswith("trainer/offset/") and name not in _TRAINING_RANKS:
        return (1,)
    return _TRAINING_RANKS.get(name)


def _check_state(datasets: Mapping[str, _Stored], config: Mapping[str, Any]) -> None:
    """ValueError where types, ranks or shapes of the state's values cannot be."""
    for name, dataset in datasets.items():
        if name in (*TABLES, DATASET):
            continue
        ranks = _ranks(name)
        if ranks is not None and (len(dataset.shape) not in ranks or 0 in dataset.shape):
            raise ValueError(f"{name} has shape {dataset.shape}")
        of_model = name.startswith("model/") and ranks is not None
        if of_model and dataset.dtype != np.dtype("<f4"):
            raise ValueError(f"{name} has shape {dataset.shape}, type {dataset.dtype}")
        if ranks == (0,) and not (dataset.dtype.kind == "i" and 0 <= int(dataset.read()) < 1 << 53):
            raise ValueError(f"{name} is no count")
        for prefix in _LIKE_PARAMETERS[1:]:
            like = datasets.get(f"model/{name.removeprefix(prefix)}")
            if name.startswith(prefix) and (
                like is None or (like.shape, like.dtype) != (dataset.shape, dataset.dtype)
            ):
                raise ValueError(f"{name} is not for what the model has")
    _check_machine(datasets, config)


def _check_machine(datasets: Mapping[str, _Stored], config: Mapping[str, Any]) -> None:
    """ValueError where the parameters of a model do not fit each other, or its options."""
    shapes = {
        name.removeprefix("model/"): dataset.shape
        for name, dataset in datasets.items()
        if name.startswith("model/")
    }
    if "weights" not in shapes:  # up-down, whose names are others: the model says what they must be
        return
    weights = shapes["weights"]
    visible, hidden = weights[0], weights[-1]
    if "conv" in config:
        from rbmcli.io.sizes import Filters

        if len(weights) != 4 or (weights[0], *weights[2:]) != Filters.parse(config["conv"]).shape:
            raise ValueError(f"model/weights has shape {weights}, with filters {config['conv']}")
        visible, hidden = weights[1], weights[0]
    elif len(weights) != 2:
        raise ValueError(f"model/weights has shape {weights}")
    elif (units := config.get("hidden")) and (hidden % units or hidden // units > _MOST_GROUP):
        raise ValueError(f"model/weights has shape {weights}, with {units} hidden units")
    for place, units in (("visible", visible), ("hidden", hidden)):
        for name in (f"{place}_bias", f"{place}_log_sigma"):
            if shapes.get(name, (units,)) != (units,):
                raise ValueError(
                    f"model/{name} has shape {shapes[name]}, with weights of {weights}"
                )


def _checked_entry(entry: Entry, path: Path, folder: Path, file_bytes: int) -> _Found:
    """What an entry is. LeadsOut or ValueError for what a run file may not hold, wherever it is."""
    if entry.item is None:
        raise LeadsOut(
            f"{path}: {entry.name} is {entry.leads_to}: a run file holds everything itself, so this"
            " one was not written by rbm"
        )
    if not isinstance(entry.item, h5py.h5d.DatasetID):
        return entry.item
    form, leaf = form_of(entry.item), entry.name.rpartition("/")[2]
    for name, as_part in form.others:
        plain = name.replace("%%", "%")
        if not (leaf == DATASET and as_part and PART_NAME.fullmatch(plain)):
            raise LeadsOut(
                f"{path}: {entry.name} is in the file {name}: a run file holds everything itself,"
                " so this one was not written by rbm"
            )
        if (folder / plain).is_symlink() or (
            (folder / plain).exists() and not in_its_folder(name, folder)
        ):
            raise LeadsOut(
                f"{path}: its filters are in {plain}, which is no regular file: put the file itself"
                " there"
            )
    if form.empty:
        raise ValueError(f"{entry.name} is empty")
    if not form.others:
        if form.layout not in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT):
            raise ValueError(f"{entry.name} is not stored in one piece")
        if not form.fits(file_bytes):
            raise ValueError(f"{entry.name} lies outside the file")
    if form.dtype.kind not in "iufb":
        is_text = h5py.check_string_dtype(form.dtype) is not None and form.shape == ()
        is_table = form.dtype.names is not None and leaf in TABLES
        if not is_text and not is_table:
            raise ValueError(f"{entry.name} is of type {form.dtype}")
    return _Stored(entry.item, entry.address, form)


def _check_number_of_layers(keys: list[str], config: Mapping[str, Any]) -> None:
    """ValueError where a stack has more layers than its options say, or up-down before all."""
    if keys == [ROOT] or config.get("add-layer") is None:
        return
    layers, planned = sum(key != UP_DOWN for key in keys), len(config["add-layer"])
    if layers > planned or (UP_DOWN in keys and layers < planned):
        raise ValueError(f"it has {layers} layers, and its options {planned}")


def _check_apart(found: Iterable[_Found]) -> None:
    """ValueError where two names lead to the same values: few bytes would be read many times."""
    datasets = [item for item in found if isinstance(item, _Stored)]
    if len({dataset.address for dataset in datasets}) < len(datasets):
        raise ValueError("two of its names are one data set")
    end = 0
    places = [(x.form.start, x.form.length) for x in datasets if x.form.start is not None]
    for start, length in sorted(each for each in places if each[1]):
        if start < end:
            raise ValueError("two of its data sets lie in the same bytes")
        end = start + length


def _image_shape(file: h5py.File) -> tuple[int, ...]:
    sizes = attribute(file, "image_shape")
    if not isinstance(sizes, np.ndarray) or sizes.ndim != 1 or sizes.dtype.kind != "i":
        raise ValueError("image_shape is no list of sizes")
    shape = tuple(int(size) for size in sizes)
    if not shape or min(shape) < 1 or math.prod(shape) > _MOST_PIXELS:
        raise ValueError(f"image_shape is {shape}")
    return shape


def _object(text: Any, name: str) -> dict[str, Any]:
    """An attribute in JSON."""

    def refuse(constant: str) -> float:
        raise ValueError(f"{constant} is no value")

    try:
        value = json.loads(_text(text, name), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is no JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{name} is no JSON object")
    return value


def _check_values(
    values: Mapping[str, Any], known: Mapping[str, Callable[[Any], bool]], name: str
) -> None:
    """ValueError for a value that is not as a table says, or, where none says, not plain."""
    for key, value in values.items():
        if value is None:
            continue
        plain = isinstance(value, bool | float) or _is_text(value) or _is_integer(value)
        fits_in = known.get(key)
        if not (plain if fits_in is None else fits_in(value)):
            raise ValueError(f"{name} has {key} {value!r:.80}")
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{name} has {key} {value}")


def _check_data(data: Mapping[str, Any]) -> None:
    own = {name: value for name, value in data.items() if name != "validation"}
    _check_values(own, _DATA, "data")
    if "validation" in data:
        if not isinstance(data["validation"], dict):
            raise ValueError("data has a validation that is no JSON object")
        _check_values(data["validation"], _DATA, "validation")


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _bool(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} is neither true nor false")
    return value
