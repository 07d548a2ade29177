"""Run files and what lies beside them: bytes changed, structures replaced, links leading away."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np
from changing import sealed_anew

from faults.generators.case import (
    EDGES,
    JSON_TEXTS,
    LARGE_EDGES,
    Case,
    Place,
    broken_before,
    changed_bytes,
    changed_json,
)

#: Valid run files of the corpus; `corpus.py` makes them.
RUNS = ("cd", "pcd", "pt", "fpcd", "conv", "labelled", "maps")
#: One that was killed, so that files lie beside it.
KILLED = "killed"

_QUICK = ("--quiet", "--threads", "1")
_FEW = (*_QUICK, "-n", "3", "-k", "2")


def commands(rng: Random, run: str) -> list[list[str]]:
    """One or two command lines that read, or go on with, a run file; they write "out.*"."""
    kind = "stack" if run in ("labelled", "maps") else "train"
    layer = rng.choice(([], [], ["--layer", "0"], ["--layer", "all"], ["--layer", "1"]))
    go_on = [kind, "--resume", "-o", "run.h5", *_QUICK]
    choices: list[list[str]] = [
        ["info", "run.h5"],
        ["info", "run.h5", "--json"],
        ["info", "run.h5", "--config"],
        ["export", "run.h5", "-o", "out.npz", "-q"],
        ["export", "run.h5", "-o", "out.safetensors", "-q"],
        ["sample", "run.h5", "-o", "out.npz", *_FEW],
        ["sample", "run.h5", "-o", "out.png", "--start", "random", *_FEW],
        ["sample", "run.h5", "-o", "out.h5", "--start", "chains", *_FEW],
        ["sample", "run.h5", "-o", "out.gif", "--clamp", "upper", *_FEW],
        ["sample", "run.h5", "-o", "out.npz", "--start", "random", "--temperatures", "3", *_FEW],
        ["sample", "run.h5", "-o", "out.npz", "--class", "1", *_FEW],
        ["render-gif", "run.h5", "-o", "out.gif", "-q", *layer[:2]],
        ["render-gif", "run.h5", "-o", "out.png", "-q"],
        ["features", "run.h5", "images.npy", "-o", "out.npz", "--limit", "9", *_QUICK, *layer],
        ["evaluate", "run.h5", "images.npy", "--limit", "9", "--ais-temperatures", "5", *_QUICK],
        go_on,
        [*go_on, "--max-time", "2s"],
        [kind, "images.npy", *go_on[1:]],
        *([[*go_on, "--epochs", "3"]] if kind == "train" else []),
        ["stack", "--grow", "--add-layer", "4,epochs=1", "-o", "run.h5", *_QUICK],
        ["train", "images.npy", "--hidden", "2", "--epochs", "1", "--force", "-o", "run.h5", "-q"],
    ]
    return [["rbm", *rng.choice(choices)] for _ in range(rng.choice((1, 1, 2)))]


def as_version_1(path: Path) -> None:
    """Make a run file one of format version 1, which has no checksums, and so is looked into."""
    with h5py.File(path, "r+") as file:  # HDF5 cuts off what it does not know of, as a seal
        file.attrs["version"] = 1


def unseal(path: Path) -> None:
    """Cut off the seal of a run file, if it has one."""
    with h5py.File(path, "r+") as file:
        file.attrs["version"] = file.attrs["version"]


def _settle_checksums(rng: Random, path: Path) -> str:
    """After a change: make the file such that it is not refused for its checksums alone."""
    match rng.randrange(8):
        case 0:
            return ", as it is"
        case 1 | 2 | 3:
            sealed_anew(path)
            return ", sealed"
        case _:
            as_version_1(path)
            return ", version 1"


def run_bytes(rng: Random, place: Place) -> Case:
    """Bytes of a run file changed, some of them in HDF5's own structures."""
    run = rng.choice(RUNS)
    path = _begin(place, run)
    how = rng.choice(("as it is", "version 1", "version 1", "sealed", "sealed"))
    if how == "version 1":
        as_version_1(path)
    elif how == "sealed":
        unseal(path)
    content = path.read_bytes()
    if rng.random() < 0.7:
        content, label = changed_bytes(rng, content)
    else:
        content, label = _changed_structures(rng, content)
    path.write_bytes(content)
    if how == "sealed":
        sealed_anew(path)
    return Case(f"{label}, {how}", commands(rng, run))


def _begin(place: Place, run: str) -> Path:
    for name in ("images.npy", "labels.npy"):
        place.bring(name)
    return place.bring(f"{run}.h5", "run.h5")


def _changed_structures(rng: Random, content: bytes) -> tuple[bytes, str]:
    """Put a number into one of the structures of an HDF5 file, all of which have signatures."""
    data = bytearray(content)
    mark = rng.choice((b"TREE", b"SNOD", b"HEAP", b"GCOL", b"OHDR", b"FRHP", b"\x89HDF"))
    places = [at for at in range(len(data)) if data.startswith(mark, at)] or [0]
    at = min(rng.choice(places) + rng.randrange(4, 120), len(data) - 8)
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(EDGES + LARGE_EDGES) % (1 << 8 * size)
    data[at : at + size] = number.to_bytes(size, "little")
    return bytes(data), "a number in a structure"


def run_structure(rng: Random, place: Place) -> Case:
    """Data sets, attributes and groups of a run file replaced by others."""
    run, labels = rng.choice(RUNS), []
    path = _begin(place, run)
    with h5py.File(path, "r+") as file:
        for _ in range(rng.choice((1, 1, 1, 2))):
            change = rng.choice((*[_data_set] * 6, *[_attribute] * 3, _group, _extra))
            with broken_before(labels):
                labels.append(change(rng, file, place))
    labels[-1] += _settle_checksums(rng, path)
    return Case(" and ".join(labels), commands(rng, run))


def _data_set(rng: Random, file: h5py.File, place: Place) -> str:
    names: list[str] = []
    file.visititems(lambda name, x: names.append(name) if isinstance(x, h5py.Dataset) else None)
    if not names:
        return "nothing"
    name = rng.choice(sorted(names))
    above, _, leaf = name.rpartition("/")
    parent = file[above] if above else file
    old = parent[leaf]
    value, shape, dtype = old[()], old.shape, old.dtype
    del parent[leaf]
    how = rng.choice(tuple(_REPLACEMENTS))
    try:
        _REPLACEMENTS[how](_Old(rng, place, parent, leaf, value, shape, dtype))
    except (OSError, TypeError, ValueError, OverflowError):
        how = "gone"  # such a one cannot be made
    return f"{leaf} {how}"


class _Old:
    """A data set that was removed, to be replaced."""

    def __init__(
        self,
        rng: Random,
        place: Place,
        parent: h5py.Group,
        leaf: str,
        value: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
    ) -> None:
        self.rng, self.place, self.parent, self.leaf = rng, place, parent, leaf
        self.value, self.shape, self.dtype = value, shape, dtype
        #: Numbers in the place of what has none.
        self.numbers = np.asarray(value if dtype.kind in "iuf" else 1.0)

    def put(self, value: Any) -> None:
        """Store a value in its place."""
        self.parent[self.leaf] = value

    def make(self, shape: tuple[int, ...], dtype: Any, **options: Any) -> h5py.Dataset:
        """Create a data set in its place."""
        return self.parent.create_dataset(self.leaf, shape, dtype, **options)


def _other_shape(old: _Old) -> None:
    size = max(1, old.numbers.size)
    choices = [(size,), (1, size), (size, 1, 1), (0,), (), (1,), (3, 5), (2, *old.shape)]
    choices += [old.shape[:-1], (*old.shape, 1), old.shape[::-1]]
    choices += [(old.shape[0] + 1, *old.shape[1:])] if old.shape else []
    old.put(np.ones(old.rng.choice(choices), np.float32))


def _special(old: _Old) -> None:
    value = np.array(old.numbers, np.float64)
    number = old.rng.choice((np.nan, np.inf, -np.inf, 3e38, -3e38, 1e-40, 89.0))
    if old.rng.random() < 0.5 and value.size:
        value.flat[old.rng.randrange(value.size)] = number
    else:
        value[...] = number
    old.put(value.astype(np.float32 if old.rng.random() < 0.5 else np.float64))


def _other_number(old: _Old) -> None:
    numbers = [*EDGES, *LARGE_EDGES[:2], -1, -(2**63)]
    old.put(np.full(old.shape, old.rng.choice(numbers), np.int64))


def _fields(old: _Old) -> None:
    columns = [("a", "<f8"), (old.rng.choice(("epoch", "seconds", "b")), "S3")]
    old.put(np.zeros(old.shape[:1] or (2,), columns))


def _fewer_rows(old: _Old) -> None:
    if not old.shape:
        raise ValueError("no rows")
    old.put(old.value[: old.rng.randrange(max(1, old.shape[0]))])


def _columns_renamed(old: _Old) -> None:
    names = old.dtype.names
    if not names:
        raise ValueError("no columns")
    new = old.rng.choice((["x" * (i + 1) for i in range(len(names))], names[::-1]))
    columns = [(name, old.dtype[i]) for i, name in enumerate(new)]
    old.put(np.array(old.value.tolist(), columns))


def _bomb(old: _Old) -> None:
    """Two gigabytes of numbers, and few bytes."""
    shape = old.rng.choice(((2**29,), (2**27, *old.shape[1:][:1])))
    options = {"chunks": (2**18, *shape[1:]), "compression": "gzip"}
    old.make(shape, "f4", fillvalue=0.5 if old.rng.random() < 0.5 else None, **options)


def _huge(old: _Old) -> None:
    shape = old.rng.choice(((2**40,), (2**31, 2**20), (2**62,), (2**20, *old.shape[1:])))
    old.make(shape, old.numbers.dtype, chunks=(64,) * len(shape))


def _filtered(old: _Old) -> None:
    if not old.shape or not old.numbers.size or old.dtype.kind not in "iuf":
        raise ValueError("nothing to be packed")
    packing = old.rng.choice(
        ({"compression": "gzip"}, {"compression": "lzf"}, {"fletcher32": True})
    )
    old.parent.create_dataset(old.leaf, data=old.value, chunks=True, **packing)


def _external_link(old: _Old) -> None:
    target = old.rng.choice(("/model/weights", "/filters", "/"))
    file = old.rng.choice(("secret.h5", "missing.h5", "secret.bin"))
    old.parent[old.leaf] = h5py.ExternalLink(str(old.place.outside / file), target)


def _external_storage(old: _Old) -> None:
    file = old.rng.choice(("secret.bin", "secret.bin", "missing", "victim"))
    dtype = old.dtype if old.dtype.kind in "iuf" else np.uint8
    shape = old.shape if old.numbers.size and old.shape else (8,)
    path = str(old.place.outside / file)
    old.make(shape, dtype, external=[(path, 0, h5py.h5f.UNLIMITED)])


def _virtual(old: _Old) -> None:
    outside, dtype = old.place.outside, old.numbers.dtype
    relative = os.path.relpath(outside / "secret.h5", old.place.folder)
    files = [str(outside / "secret.h5"), relative, ".", "%b", "", "images.npy", "a" * 3000]
    files += ["run.h5.filters.0/../../x", "run.h5.filters.\n", "run.h5.filters.7", "run.h5.lock"]
    file = old.rng.choice(files)
    shape = old.shape or (3,)
    rows = old.rng.choice((shape[0], 1, shape[0] + 7))
    layout = h5py.VirtualLayout(shape, dtype)
    name = old.rng.choice(("filters", "/model/weights", "/nothing"))
    source = h5py.VirtualSource(file, name, (rows + 1, *shape[1:]), dtype)
    count = min(rows, shape[0])
    layout[:count] = source[:count]
    old.parent.create_virtual_dataset(old.leaf, layout, fillvalue=np.nan)


def _soft_link(old: _Old) -> None:
    above = old.parent.name.rstrip("/")
    target = old.rng.choice((f"{above}/{old.leaf}", "/nowhere", "/", above or "/", "/filters"))
    old.parent[old.leaf] = h5py.SoftLink(target)


def _text(old: _Old) -> None:
    old.put(old.rng.choice(("", "x", "a\nb", "\x1b[31m", "1", b"\xff\xfe", "9" * 5000)))


def _references(old: _Old) -> None:
    old.put(np.array([old.parent.ref] * 2, dtype=h5py.ref_dtype))


def _ragged(old: _Old) -> None:
    old.make((3,), h5py.vlen_dtype(np.int32))[0] = [1, 2]


def _texts(old: _Old) -> None:
    old.make(old.shape or (2,), h5py.string_dtype())[...] = "x"


_REPLACEMENTS: dict[str, Callable[[_Old], None]] = {
    "gone": lambda old: None,
    "of another shape": _other_shape,
    "with special numbers": _special,
    "with other numbers": _other_number,
    "with fewer rows": _fewer_rows,
    "as fields": _fields,
    "with columns renamed": _columns_renamed,
    "empty": lambda old: old.put(h5py.Empty("f4")),
    "of no rows": lambda old: old.put(np.zeros((0, *old.shape[1:]), np.float32)),
    "a text": _text,
    "texts": _texts,
    "complex": lambda old: old.put(old.numbers.astype(np.complex64)),
    "bools": lambda old: old.put(np.ones(old.shape, bool)),
    "half floats": lambda old: old.put(old.numbers.astype(np.float16)),
    "big-endian": lambda old: old.put(old.numbers.astype(old.numbers.dtype.newbyteorder(">"))),
    "opaque": lambda old: old.put(np.zeros(old.shape or (3,), "V5")),
    "an enumeration": lambda old: old.make(old.shape, h5py.enum_dtype({"A": 0, "B": 1}, "i4")),
    "references": _references,
    "ragged": _ragged,
    "a bomb": _bomb,
    "huge": _huge,
    "packed": _filtered,
    "an external link": _external_link,
    "stored outside": _external_storage,
    "virtual": _virtual,
    "a soft link": _soft_link,
    "a group": lambda old: old.parent.create_group(old.leaf).attrs.update(x=1),
    "a type": lambda old: old.put(np.dtype("f4")),
}

#: Options that a configuration may be given.
_OPTIONS = (
    *("crop", "patches", "whiten", "pad", "conv", "pool", "classes", "preprocess", "add-layer"),
    *("label-units", "limit", "only", "crops-per-image", "labels", "binarize", "validation"),
    *("hidden", "seed", "epochs", "algorithm", "chains", "temperatures", "flip", "up-down"),
    *("visible-kind", "hidden-kind", "source", "imported_from", "batch-size", "lr", "momentum"),
)


def _attribute(rng: Random, file: h5py.File, place: Place) -> str:
    groups = [file]
    for name in ("layers/0", "layers/1", "up-down"):
        with suppress(KeyError, RuntimeError, OSError):  # what an earlier change broke
            groups.append(file[name])
    group = rng.choice([group for group in groups if len(group.attrs)])
    name = rng.choice(sorted(group.attrs))
    if name in ("config", "data") and rng.random() < 0.85:
        value: Any = {}
        with suppress(ValueError, TypeError):  # it may be no JSON any more
            value = json.loads(group.attrs[name])
        if name == "config" and isinstance(value, dict) and rng.random() < 0.1:
            # Nothing may be written to where only the file says so.
            value = {**value, "metrics": str(place.outside / "victim")}
        else:
            value = changed_json(rng, value, _OPTIONS)
        text = json.dumps(value)
        group.attrs[name] = text
        return f"@{name} changed"
    if rng.random() < 0.15:
        del group.attrs[name]
        return f"@{name} gone"
    if name == "image_shape" and rng.random() < 0.8:
        shapes: tuple[Any, ...] = ([-8, -8], [0, 64], [2**31, 2**31], [64], [8], [4, 16], [8, 8, 1])
        shapes += ([1, 8, 8], [2.5, 3.0], [1] * 40, [2**62, 4], [[8, 8]], [2**32, 2**32])
        group.attrs[name] = rng.choice(shapes)
        return "@image_shape changed"
    values: tuple[Any, ...] = (1, 2, -1, 2**62, 1.5, np.nan, *JSON_TEXTS, np.zeros(3), True, False)
    values += (h5py.Empty("f4"), np.bytes_(b"\xff"), np.zeros((2, 2)), np.complex64(1))
    values += ("\x1b[31mred", "rbm run", "a\nb", np.array([b"a", b"b"]))
    try:
        group.attrs[name] = rng.choice(values)
    except (OSError, TypeError, ValueError):  # too large for an attribute
        group.attrs[name] = "["
    return f"@{name} of another kind"


def _group(rng: Random, file: h5py.File, place: Place) -> str:
    names = ("", "model", "trainer", "layers", "layers/0", "layers/1", "up-down", "trainer/chains")
    group = file[rng.choice([name for name in names if name in file or not name]) or "/"]
    if not isinstance(group, h5py.Group) or not len(group):
        return "nothing"
    key = rng.choice(sorted(group))
    del group[key]
    how = rng.choice(("gone", "a soft link", "an external link", "the group itself"))
    if how == "a soft link":
        group[key] = h5py.SoftLink(rng.choice(("/", group.name, "/layers", ".")))
    elif how == "an external link":
        target = rng.choice(("/", "/model"))
        group[key] = h5py.ExternalLink(str(place.outside / "secret.h5"), target)
    elif how == "the group itself":
        group[key] = group
    return f"{key} {how}"


def _extra(rng: Random, file: h5py.File, place: Place) -> str:
    names = ["layers", "layers/7", "layers/x", "layers/1", "up-down", "model/new", "model/ü"]
    names += ["model/\x1b[31m", "a" * 300, "trainer/new", "trainer/chains/hidden", "trainer/step/x"]
    name = rng.choice(names)
    try:
        if rng.random() < 0.5:
            file.create_group(name)
        else:
            file[name] = np.ones((4, 6), np.float32)
    except (OSError, ValueError, TypeError):
        return "nothing"
    return f"more: {name[:10]!r}"


def beside_run(rng: Random, place: Place) -> Case:
    """Lock, parts and unfinished checkpoint of a killed run: changed, replaced, leading away."""
    path = _begin(place, KILLED)
    beside = sorted(name.name for name in place.corpus.glob(f"{KILLED}.h5.*"))
    for name in beside:
        place.bring(name, name.replace(KILLED, "run", 1))
    if rng.random() < 0.3:
        as_version_1(path)
    name = rng.choice(
        ("run.h5.lock", "run.h5.lock", "run.h5.tmp", "run.h5.filters.0", "run.h5.filters.1")
    )
    target = place.folder / name
    content = target.read_bytes() if target.exists() else b""
    target.unlink(missing_ok=True)
    how = rng.choice(("bytes", "bytes", "text", "link", "link", "folder", "empty", "gone", "array"))
    match how:
        case "bytes":
            content, how = changed_bytes(rng, content or b"x" * 200)
            target.write_bytes(content)
        case "text":
            lines = ("images.npy", "../outside/victim", "run.h5", "run.h5.filters.0", "\x1b[31m")
            lines += ("run.h5.filters.0/../images.npy", "run.h5.filters.9", "\ud800", "/", "")
            text = (
                "process 1 on x".ljust(127)
                + "\n"
                + "".join(f"{rng.choice(lines)}\n" for _ in range(3))
            )
            target.write_bytes(text.encode("utf-8", "surrogatepass"))
        case "link":
            led = rng.choice((place.outside / "victim", place.outside / "new", "images.npy", name))
            target.symlink_to(led)
        case "folder":
            target.mkdir()
            (target / "kept").write_text("kept")
        case "empty":
            target.write_bytes(b"")
        case "array":
            with h5py.File(target, "w") as file:
                _data_set_of_part(rng, file, place)
    return Case(f"{name} {how}", commands(rng, KILLED))


def _data_set_of_part(rng: Random, file: h5py.File, place: Place) -> None:
    """Filters of a part, of some other kind."""
    file["filters"] = np.zeros((8, 6, 8, 8), np.float32)
    old = file["filters"]
    value, shape, dtype = old[()], old.shape, old.dtype
    del file["filters"]
    how = rng.choice(tuple(_REPLACEMENTS))
    try:
        _REPLACEMENTS[how](_Old(rng, place, file, "filters", value, shape, dtype))
    except (OSError, TypeError, ValueError, OverflowError):
        return
