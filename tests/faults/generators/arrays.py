"""Files of arrays: IDX, plain and gzip, NumPy's own, weights to be imported, masks."""

from __future__ import annotations

import gzip
import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

import numpy as np

from faults.generators.case import EDGES, Case, Place, changed_bytes

_IDX_CODES = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}

#: What is done to the images of a source as they are read.
_AT_ONCE = ((), (), (), ("whiten",), ("patches",), ("crop",))


def some_images(count: int = 20) -> np.ndarray:
    """Images of 8 x 8 bytes, the same every time."""
    return np.random.default_rng(5).integers(0, 256, (count, 8, 8)).astype(np.uint8)


def idx(array: np.ndarray, dtype: str = "u1") -> bytes:
    """An IDX file."""
    sizes = struct.pack(f">{array.ndim}I", *array.shape)
    head = bytes((0, 0, _IDX_CODES[dtype], array.ndim))
    return head + sizes + array.astype(f">{dtype}").tobytes()


def npy(array: np.ndarray) -> bytes:
    """A .npy file."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array)
    return file.getvalue()


def npz(arrays: Mapping[str, np.ndarray], *, packed: bool = False) -> bytes:
    """A .npz file."""
    file = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(file, **arrays)
    return file.getvalue()


def read(rng: Random, label: str, source: str) -> Case:
    """The case of a source: read by the library, or now and then learned from."""
    if rng.random() < 0.85:
        return Case(label, [["source", source, *rng.choice(_AT_ONCE)]])
    train = ["rbm", "train", source, "--hidden", "2", "--epochs", "1", "--limit", "20"]
    return Case(label, [[*train, "-o", "out.h5", "--quiet", "--threads", "1", "--max-time", "2s"]])


def idx_source(rng: Random, place: Place) -> Case:
    """IDX, plain, gzip, or gzip of what is broken."""
    images = some_images()
    content = rng.choice(
        (idx(images), idx(images / 255, "f4"), idx(np.arange(20), "i4"), idx(images, "f8"))
    )
    path = place.folder / "images.idx"
    if rng.random() < 0.25:
        content, label = _false_idx(rng)
    else:
        content, label = changed_bytes(rng, content)
    if rng.random() < 0.5:
        content, label = gzip.compress(content, mtime=0), f"gzip of {label}"
        if rng.random() < 0.5:
            content, label = changed_bytes(rng, content)
            label = f"gzip, {label}"
    path.write_bytes(content)
    return read(rng, label, path.name)


def _false_idx(rng: Random) -> tuple[bytes, str]:
    """A header that promises other sizes than there are."""
    ranks = rng.choice((0, 1, 2, 3, 4, 31, 32, 33, 255))
    sizes = [rng.choice((*EDGES, 20, 8)) % 2**32 for _ in range(ranks)]
    head = bytes((0, 0, rng.choice((8, 9, 10, 11, 13, 14, 255)), ranks))
    return head + struct.pack(f">{ranks}I", *sizes) + bytes(1280), "false sizes"


def npy_source(rng: Random, place: Place) -> Case:
    """A .npy file: bytes or the header changed."""
    path = place.folder / "images.npy"
    content, label = broken_npy(rng)
    path.write_bytes(content)
    return read(rng, label, path.name)


def broken_npy(rng: Random) -> tuple[bytes, str]:
    """A .npy file that is none, or is one of something else than images, and how."""
    if rng.random() < 0.5:
        return _false_npy(rng), "false header"
    images = some_images()
    kinds: tuple[np.ndarray, ...] = (images, images / 255, images > 99, np.asfortranarray(images))
    kinds += (images.astype(">i4"), images.astype("f2"), images[:, :0], images[0, 0, 0])
    kinds += (images + np.nan, images * 1e300, images.astype("c8"), images.astype("m8[s]"))
    kinds += (images.astype("S3"), images.astype("U2"), images.astype("i8") - 2**62)
    return changed_bytes(rng, npy(rng.choice(kinds)))


_SHAPES = (
    *("(20, 8, 8)", "(20, 8, 8)", "(-1, 8, 8)", "(20, -8, -8)", "(4294967296, 4294967296)", "()"),
    *("(1000000000, 8)", "(9223372036854775807,)", "(2, 0, 8)", "(20,)", "(1,) * 64", "None"),
    *("(20.0, 8, 8)", "('a', 8)", "(True, 64)", "[20, 8, 8]", f"({'1, ' * 70})", f"({'9' * 99},)"),
    *(f"({'-' * 3000}1,)", f"({'9' * 9000},)"),
)
_DTYPES = (
    *("'|u1'", "'|u1'", "'<f8'", "'|O'", "'<f2'", "'>c16'", "'<U2147483647'", "'|V8'", "'|S0'"),
    *("'<M8[ns]'", "[('a', '<f4'), ('b', '|O')]", "('<f4', (3,))", "'|b1'", "None", "5", "'xyz'"),
    *("'<i8, <i8'", "'<V9999999999'", "''", "[('a', [('b', '|u1')])]", "'<f4' * 3"),
)
_HEADERS = (
    *("(" * 3000, "{" * 90, "[" * 200 + "]" * 200, "__import__('os').getpid()", "\x00" * 100),
    *("{'descr':" + "'" * 9, "{" + "'a': 1, " * 2000 + "}", "{'a': {}}" * 3, "\ud800"),
)


def _false_npy(rng: Random) -> bytes:
    order = rng.choice(("False", "False", "True", "1", "'x'", "None"))
    more = rng.choice(("", "", "'x': 1", "'", "''"))
    header = (
        f"{{'descr': {rng.choice(_DTYPES)}, 'fortran_order': {order},"
        f" 'shape': {rng.choice(_SHAPES)}, {more}}}"
    )
    if rng.random() < 0.15:
        header = rng.choice(_HEADERS)
    text = header.encode("utf-8", "surrogatepass").ljust(rng.choice((0, 118, 9000))) + b"\n"
    version = rng.choice(((1, 0), (1, 0), (2, 0), (3, 0), (4, 0), (0, 0), (255, 255)))
    size = rng.choice((len(text), len(text), len(text), 0, 65535, 2**31, 2**32 - 1))
    form = "<H" if version[0] == 1 else "<I"
    field = struct.pack(form, size % (1 << 8 * struct.calcsize(form)))
    body = rng.choice((some_images().tobytes(), b"", b"\x80\x04N.", bytes(100)))
    return b"\x93NUMPY" + bytes(version) + field + text + body


def npz_source(rng: Random, place: Place) -> Case:
    """A .npz file: its bytes, its members or its directory changed."""
    arrays = {"images": some_images(), "labels": np.arange(20)}
    if rng.random() < 0.5:
        content, label = broken_npz(rng, arrays)
    else:
        content, label = changed_bytes(rng, npz(arrays, packed=rng.random() < 0.5))
    path = place.folder / "images.npz"
    path.write_bytes(content)
    return read(rng, label, path.name + rng.choice(("", "", ":images", ":labels")))


def broken_npz(rng: Random, arrays: Mapping[str, np.ndarray]) -> tuple[bytes, str]:
    """A zip of members that are arrays or not, whose directory may lie."""
    file = io.BytesIO()
    packing = rng.choice(
        (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    with zipfile.ZipFile(file, "w", packing) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of two members of one name
        for name, array in arrays.items():
            member = f"{name}.npy"
            if rng.random() < 0.2:
                odd = ["../x.npy", "/x.npy", "a" * 5000 + ".npy", "é.npy", "\x1b[31m.npy"]
                odd += [name, f"{member}/", f"{member}.npy", f"0/{member}", f"x/y/{member}"]
                member = rng.choice(odd)
            content = npy(array)
            if rng.random() < 0.4:
                content = rng.choice((broken_npy(rng)[0], b"", b"x" * 50))
            for _ in range(rng.choice((1, 1, 1, 2))):
                archive.writestr(member, content)
    data = bytearray(file.getvalue())
    if rng.random() < 0.5:
        _lie_in_directory(rng, data)
    return bytes(data), "members or directory"


def _lie_in_directory(rng: Random, data: bytearray) -> None:
    mark = rng.choice((b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06"))
    if (start := data.find(mark)) < 0:
        return
    place = start + rng.randrange(4, 22 if mark[2] == 5 else 46)
    size = rng.choice((1, 2, 4))
    number = rng.choice(EDGES) % (1 << 8 * size)
    data[place : place + size] = number.to_bytes(size, "little")


def mask(rng: Random, place: Place) -> Case:
    """A mask in an array; those in pictures are with the pictures."""
    drawn = some_images()[0] > 99
    match rng.randrange(3):
        case 0:
            content, label = broken_npy(rng)
        case 1:
            content, label = broken_npz(rng, {"mask": drawn})
        case _:
            arrays = (npy(drawn), npz({"mask": drawn}), npy(drawn * np.nan), npy(drawn.ravel()))
            content, label = changed_bytes(rng, rng.choice(arrays))
    path = place.folder / rng.choice(("mask.npy", "mask.npz", "mask.png"))
    path.write_bytes(content)
    return Case(label, [["mask", path.name]])


def dense_weights() -> dict[str, np.ndarray]:
    """A machine of 64 x 5."""
    biases = {"visible_bias": np.zeros(64, "f4"), "hidden_bias": np.zeros(5, "f4")}
    return {"weights": np.ones((64, 5), "f4"), **biases}


def _weights(rng: Random) -> dict[str, np.ndarray]:
    dense, shape = dense_weights(), np.array([8, 8])
    above = {
        "weights": np.ones((5, 4), "f4"),
        "visible_bias": np.zeros(5),
        "hidden_bias": np.ones(4),
    }
    learned = {"visible_kind": np.array("gaussian:learned"), "visible_log_sigma": np.zeros(64)}
    filters = {"weights": np.ones((3, 1, 3, 3), "f4"), "visible_bias": np.zeros(1)}
    filters |= {"hidden_bias": np.zeros(3), "pool": np.array(2), "image_shape": shape}
    stack = {f"0/{name}": x for name, x in dense.items()} | {f"1/{n}": x for n, x in above.items()}
    apart = {"0/generative_weights": dense["weights"], "0/generative_bias": np.zeros(64)}
    every = (dense, dense | learned | {"image_shape": shape}, filters, stack)
    every += (stack | {"classes": np.array(2)}, stack | apart)
    return dict(rng.choice(every))


_OTHER_ARRAYS: tuple[Callable[[], Any], ...] = (
    *(lambda kind=kind: np.array(kind) for kind in ("bernoulli", "gaussian:learned", "nrelu")),
    *(lambda kind=kind: np.array(kind) for kind in ("softmax:1024", "softmax:0", "gaussian:nan")),
    *(lambda kind=kind: np.array(kind) for kind in ("gaussian:1e-300", "binomial:255", "x" * 5000)),
    *(lambda number=number: np.array(number) for number in (-1, 0, 1, 9999, 2**62, True, 1.5)),
    *(lambda shape=shape: np.array(shape) for shape in ([2**62, 2], [-8, -8], [0, 64], [8.0, 8])),
    *(lambda shape=shape: np.zeros(shape, "f4") for shape in ((64, 0), (0,), (5, 64), (64,), (5,))),
    *(
        lambda shape=shape: np.ones(shape, "f4")
        for shape in ((3, 1, 9, 9), (3, 1, 1, 1), (1,) * 20)
    ),
    *(lambda dtype=dtype: np.ones((64, 5), dtype) for dtype in ("c8", "?", "f2", "i8", "g")),
    *(lambda number=number: np.full((64, 5), number) for number in (np.nan, 1e300, 3e38)),
    *(lambda number=number: np.full(64, number) for number in (90.0, -90.0, np.inf)),
    lambda: np.zeros((2, 3), "S4"),
    lambda: np.zeros(2, [("a", "f4")]),
    lambda: np.array(["a", "b"]),
    lambda: np.array(np.datetime64("2020")),
)
_NAMES = (
    *("weights", "visible_bias", "hidden_bias", "pool", "classes", "image_shape", "visible_kind"),
    *("hidden_kind", "visible_log_sigma", "hidden_log_sigma", "generative_weights", "x"),
    *("0/generative_weights", "0/generative_bias", "1/pool", "1/hidden_kind", "2/weights"),
    "999999999/weights",
)


def weights(rng: Random, place: Place) -> Case:
    """Weights to be imported; what is made of them must serve."""
    arrays, label = _weights(rng), "other arrays"
    path = place.folder / "weights.npz"
    match rng.randrange(5):
        case 0:
            content, label = changed_bytes(rng, npz(arrays))
        case 1:
            content, label = broken_npz(rng, arrays)
        case _:
            for _ in range(rng.choice((1, 1, 2, 3))):
                name = rng.choice((*sorted(arrays), *_NAMES))
                if rng.random() < 0.2:
                    arrays.pop(name, None)
                else:
                    arrays[name] = rng.choice(_OTHER_ARRAYS)()
            content = npz(arrays, packed=rng.random() < 0.3)
    path.write_bytes(content)
    choices = ["", "", "", "--shape 8x8", "--visible-kind gaussian", "--hidden-kind nrelu"]
    choices += ["--shape 999999999x999999999", "--shape 1x64"]
    options = rng.choice(choices).split()
    sample = ["sample", "out.h5", "-o", "sample.npz", "-n", "2", "-k", "1", "--start", "random"]
    jobs = [
        ["import", path.name, "-o", "out.h5", "--quiet", *options],
        ["info", "out.h5", "--json"],
        ["export", "out.h5", "-o", "out.npz", "--quiet"],
        [*sample, "--quiet", "--threads", "1"],
    ]
    return Case(label, [["rbm", *job] for job in jobs], serves=True)
