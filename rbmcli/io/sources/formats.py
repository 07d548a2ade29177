"""Files that are no source: what they are, by their content, and what can be done about it."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from pathlib import Path

from rbmcli.ahead import GZIP_MAGIC
from rbmcli.errors import RbmError
from rbmcli.opening import opened

#: As much of a file as is looked at.
_HEAD = 1 << 14

_READABLE = "an IDX (plain or gzip), .npy, .npz or HDF5 file, or a folder of pictures"
_TO_NPY = "make a .npy file of its numbers"
_PICTURE = "a single picture: name its folder, and keep there what is to be learned from"
_UNPACK = "unpack it, and name what is in it"
_FROM_TABLE = (
    "a table in columns: make a .npy file of its numbers (in Python, with pandas:"
    " numpy.save('images.npy', pandas.{reader}('{name}').to_numpy()))"
)
_PICKLE = (
    "which is not read, since it may run a program: load it where you trust it, and numpy.save its"
    " array of images"
)
_TENSORS = "numpy.save('images.npy', tensor.numpy())"

#: What a file begins with, and what it is; {name} is the file's.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"PAR1", "a Parquet file, " + _FROM_TABLE.replace("{reader}", "read_parquet")),
    (b"ARROW1", "an Arrow file (Feather), " + _FROM_TABLE.replace("{reader}", "read_feather")),
    (b"FEA1", "a Feather file, " + _FROM_TABLE.replace("{reader}", "read_feather")),
    (
        b"MATLAB 5.0",
        "a MATLAB file (before version 7.3): save it there with '-v7.3', or make a .npy file of it"
        " (scipy.io.loadmat('{name}') has its arrays)",
    ),
    (b"SQLite format 3\0", f"an SQLite data base: {_TO_NPY}"),
    (b"CDF\x01", "a NetCDF 3 file: convert it with nccopy -k nc4, or " + _TO_NPY),
    (b"CDF\x02", "a NetCDF 3 file: convert it with nccopy -k nc4, or " + _TO_NPY),
    (b"CDF\x05", "a NetCDF 3 file: convert it with nccopy -k nc4, or " + _TO_NPY),
    (b"\xfd7zXZ\0", f"packed by xz: {_UNPACK} (xz -dk {{name}})"),
    (b"\x28\xb5\x2f\xfd", f"packed by zstd: {_UNPACK} (zstd -dk {{name}})"),
    (b"BZh", f"packed by bzip2: {_UNPACK} (bzip2 -dk {{name}})"),
    (b"\x04\x22\x4d\x18", f"packed by lz4: {_UNPACK} (lz4 -dk {{name}})"),
    (b"7z\xbc\xaf\x27\x1c", f"a 7-Zip archive: {_UNPACK}"),
    (b"Rar!\x1a\x07", f"a RAR archive: {_UNPACK}"),
    (b"%PDF", f"a PDF document; give {_READABLE}"),
    (b"%!PS", f"a PostScript document; give {_READABLE}"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", f"an old Office document: {_TO_NPY}"),
    (b"\x7fELF", f"a program; give {_READABLE}"),
    (b"\x89PNG", _PICTURE),
    (b"\xff\xd8\xff", _PICTURE),
    (b"GIF8", _PICTURE),
    (b"II*\0", _PICTURE),
    (b"MM\0*", _PICTURE),
    (b"\x93NUMPY", "a .npy file; name it itself"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; name it itself"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file: fetch it with git lfs pull"),
)


def refusal(path: Path) -> RbmError:
    """What to raise for a file whose format is none that is read: its name, and what to do."""
    with opened(path) as file:
        head = file.read(_HEAD)
        file.seek(0)
        what = zip_content(path) if head.startswith(b"PK\x03\x04") else _what(head, path.name)
    return RbmError(f"{path}: is {what}")


def zip_content(path: Path) -> str:
    """What a zip archive is that is no .npz file, and what to do."""
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "a damaged zip archive; get a sound copy"
    if any(name.rpartition("/")[2] == "data.pkl" for name in names):
        return f"a file of PyTorch: load it there, and store its images: {_TENSORS}"
    if "[Content_Types].xml" in names:
        return f"an Office document: {_TO_NPY}"
    return f"a zip archive of other files than arrays: {_UNPACK}"


def _what(head: bytes, name: str) -> str:
    """What a file is that begins so, and what to do."""
    if not head:
        return "empty: get a complete copy"
    for start, what in _BEGINNINGS:
        if head.startswith(start):
            return what.replace("{name}", name)
    if head.startswith(GZIP_MAGIC):
        return _in_gzip(head, name)
    if head[257:262] == b"ustar":
        return f"a tar archive: {_UNPACK} (tar -xf {name})"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _PICTURE
    if re.match(rb"P[1-6]\s+(?:#[^\n]*\n\s*)*\d+\s+\d+\s", head) or _is_bmp(head):
        return _PICTURE
    if re.match(rb"\x80[\x02-\x05][\x95\x8a(}\]c)KJMXqNG]", head):
        return f"a pickle of Python, {_PICKLE}"
    if _is_safetensors(head):
        return (
            "a safetensors file: store its images as an array (in Python:"
            f" numpy.save('images.npy', safetensors.numpy.load_file('{name}')[KEY]))"
        )
    text = _text(head)
    if text is not None:
        return _what_text(text, name)
    return f"of a format that is not known here; give {_READABLE}"


def _in_gzip(head: bytes, name: str) -> str:
    """What a gzip file is that holds no IDX file."""
    try:
        inner = zlib.decompressobj(31).decompress(head, _HEAD)
    except zlib.error as error:
        return f"damaged gzip data ({error}); get a sound copy"
    unpacked = name[:-3] if name.lower().endswith(".gz") else "what is in it"
    if not inner:
        return "gzip of nothing, or truncated; get a complete copy"
    if inner[257:262] == b"ustar":
        return f"a tar archive, packed by gzip: {_UNPACK} (tar -xzf {name})"
    if inner.startswith(GZIP_MAGIC):
        return f"packed by gzip twice: unpack it once (gunzip {name})"
    if inner.startswith((b"\x93NUMPY", b"\x89HDF", b"PK\x03\x04")):
        return f"an array packed by gzip: unpack it (gunzip {name}), and name {unpacked}"
    return f"packed by gzip; unpacked, it is {_what(inner, unpacked)}"


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and len(head) >= 18 and head[14] in (12, 40, 52, 56, 64, 108, 124)


def _is_safetensors(head: bytes) -> bool:
    return (
        int.from_bytes(head[:8], "little") < 1 << 30 and re.match(rb'\{\s*"', head[8:]) is not None
    )


def _text(head: bytes) -> str | None:
    """The beginning of a file as text, if it is text."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        text = head[: len(head) // 2 * 2].decode("utf-16", "replace")
    else:
        try:
            text = head.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if error.start < len(head) - 4:  # not a character that is cut at the end
                return None
            text = head[: error.start].decode("utf-8-sig")
    odd = sum(not (c.isprintable() or c.isspace()) for c in text)
    return None if odd else text


def _what_text(text: str, name: str) -> str:
    start = text.lstrip()[:200].lower()
    if not start:
        return "text of blanks only; name another file"
    if start.startswith(("<!doctype html", "<html", "<head")):
        return "a web page (HTML), as a failed download leaves: fetch the file itself again"
    if start.startswith(("<?xml", "<svg")):
        return f"XML: {_TO_NPY}"
    if start[0] in "{[" and _is_json(text):
        return f"JSON: {_TO_NPY} (in Python: numpy.save('images.npy', json.load(open('{name}'))))"
    if re.match(r">\S.*\n[A-Za-z*\-\n]+", text.lstrip()):
        return "FASTA, sequences: make of them a .npy file of one-hot columns, for softmax:N units"
    separator = _separator(text)
    if separator is not None:
        words = {",": "CSV: commas", "\t": "TSV: tabs", ";": "CSV: semicolons", " ": "blanks"}
        options = "" if separator == " " else f", delimiter={separator!r}"
        if re.search(r"[A-DF-Za-df-z_]", text.lstrip().split("\n")[0]):
            options += ", skiprows=1"
        return (
            f"a table as text ({words[separator]} between values): make a .npy file of it (in"
            f" Python: numpy.save('images.npy', numpy.loadtxt('{name}'{options}))), and take"
            " columns of labels out"
        )
    return f"text, which is no data: give {_READABLE}"


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except RecursionError:
        return True
    except ValueError as error:
        # Of a long text only the beginning was read: what is wrong must be where that ends.
        return getattr(error, "pos", 0) > len(text) * 0.5 or '":' in text[:200]
    return True


def _separator(text: str) -> str | None:
    """What separates the columns of a table, of which all lines looked at have as many."""
    lines = [line.strip() for line in text.splitlines()[:20]]
    if len(lines) > 1:
        lines = lines[:-1] if len(text) >= _HEAD // 2 else lines  # the last one may be cut
    lines = [line for line in lines if line and not line.startswith("#")]
    for separator in ("\t", ",", ";", " "):
        counts = {len(line.split(None if separator == " " else separator)) for line in lines}
        if len(counts) == 1 and counts.pop() > 1 and (separator != " " or _numbers(lines[-1])):
            return separator
    return None


def _numbers(line: str) -> bool:
    return all(re.fullmatch(r"[-+.\deE]+", word) for word in line.split())
