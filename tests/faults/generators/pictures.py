"""Pictures of each format, folders of them, and masks drawn as pictures."""

from __future__ import annotations

import io
import struct
import zlib
from functools import cache
from random import Random
from typing import Any

from PIL import Image

from faults.generators.arrays import read, some_images
from faults.generators.case import EDGES, Case, Place, changed_bytes

#: Mode, format and options of a picture. Some of the formats are not promised to be read.
_FORMS: tuple[tuple[str, str, dict[str, Any]], ...] = (
    *((mode, "PNG", {}) for mode in ("L", "1", "P", "RGB", "RGBA", "LA", "I;16")),
    *((mode, "JPEG", {}) for mode in ("L", "RGB", "CMYK")),
    ("RGB", "JPEG", {"progressive": True}),
    *((mode, "GIF", {}) for mode in ("L", "P")),
    *((mode, "BMP", {}) for mode in ("L", "RGB", "1")),
    *((mode, "TIFF", {}) for mode in ("L", "RGB", "CMYK", "1", "F")),
    *(("RGB", "TIFF", {"compression": how}) for how in ("tiff_lzw", "packbits", "jpeg")),
    *((mode, "WEBP", {"lossless": True}) for mode in ("RGB", "RGBA")),
    *((mode, "PPM", {}) for mode in ("L", "RGB", "1")),
    *((mode, name, {}) for mode, name in (("RGB", "ICO"), ("RGB", "TGA"), ("RGB", "EPS"))),
    *((mode, name, {}) for mode, name in (("RGB", "PCX"), ("1", "XBM"), ("RGB", "SGI"))),
)
#: How many forms there are.
COUNT = len(_FORMS)
_SUFFIXES = ("png", "jpg", "jpeg", "gif", "bmp", "tif", "tiff", "webp", "pgm", "PNG")


@cache
def picture(form: int, side: int = 8) -> bytes:
    """A picture of one of the forms; b"" where this Pillow cannot make it."""
    mode, name, options = _FORMS[form]
    file = io.BytesIO()
    image = Image.fromarray(some_images(1)[0]).resize((side, side))
    try:
        (Image.merge("LA", [image, image]) if mode == "LA" else image.convert(mode)).save(
            file, name, **options
        )
    except (OSError, KeyError, ValueError):
        return b""
    return file.getvalue()


def _png(width: int, height: int, kind: int, content: bytes) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", width % 2**31, height % 2**31, 8, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", content) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def broken_picture(rng: Random) -> tuple[bytes, str]:
    """A picture with bytes changed, or one that says that it is large."""
    if rng.random() < 0.1:
        sizes = (*EDGES[:8], 8, 10_000, 65_535)
        content = zlib.compress(bytes(rng.choice((0, 100, 10_000))))
        made = _png(rng.choice(sizes), rng.choice(sizes), rng.choice((0, 2, 3, 6)), content)
        return made, "a size that is none"
    form = rng.randrange(COUNT)
    content, how = changed_bytes(rng, picture(form))
    if rng.random() < 0.1:
        content, how = picture(form), "sound"
    return content, f"{_FORMS[form][1]} {_FORMS[form][0]}, {how}"


def folder_of_pictures(rng: Random, place: Place) -> Case:
    """A folder with a sound picture and a broken one, or of odd files."""
    folder = place.folder / "pictures"
    folder.mkdir()
    content, label = broken_picture(rng)
    inside = folder / "0" if rng.random() < 0.2 else folder
    inside.mkdir(exist_ok=True)
    if rng.random() < 0.7:
        (inside / "a.png").write_bytes(picture(0))
    (inside / f"b.{rng.choice(_SUFFIXES)}").write_bytes(content)
    match rng.randrange(12):
        case 0:
            (folder / "c.png").symlink_to("c.png")
            label = "a link to itself"
        case 1:
            (folder / "c.png").mkdir()
            label = "a folder called as a picture"
        case 2:
            (folder / "\x1b[31m.png").write_bytes(b"x")
            label = "an odd name"
        case 3:
            (folder / "9").mkdir(exist_ok=True)
            (folder / "9" / "x.png").write_bytes(picture(0))
            label = "sub-folders, " + label
    return read(rng, label, "pictures")


def picture_mask(rng: Random, place: Place) -> Case:
    """A mask that is a picture."""
    content, label = broken_picture(rng)
    path = place.folder / f"mask.{rng.choice(_SUFFIXES)}"
    path.write_bytes(content)
    return Case(label, [["mask", path.name]])
