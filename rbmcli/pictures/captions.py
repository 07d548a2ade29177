"""Captions over pictures, and pictures side by side."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rbmcli.pictures.tiles import GAP, Picture, pad

_INK = 238
_INDENT = 2


def caption_width(text: str, scale: int) -> int:
    """Width in pixels that `text` needs as a caption of a picture of that scale."""
    return round(_font(scale).getlength(text)) + 2 * _INDENT


def captioned(picture: Picture, text: str, scale: int) -> Picture:
    """Put one line of text over the picture, cut at its right edge (see `caption_width`)."""
    font = _font(scale)
    ascent, descent = font.getmetrics()
    line = Image.new("L", (picture.shape[1], ascent + descent + _INDENT), GAP)
    ImageDraw.Draw(line).text((_INDENT, 0), text, fill=_INK, font=font)
    strip = np.asarray(line)
    if picture.ndim == 3:
        strip = _coloured(strip)
    return np.concatenate([strip, picture])


def beside(pictures: Sequence[Picture], gap: int) -> Picture:
    """Put pictures side by side, aligned at the top, `gap` pixels apart."""
    if any(picture.ndim == 3 for picture in pictures):
        pictures = [_coloured(picture) for picture in pictures]
    height = max(len(picture) for picture in pictures)
    last = len(pictures) - 1
    return np.concatenate(
        [
            pad(picture, bottom=height - len(picture), right=gap if place < last else 0)
            for place, picture in enumerate(pictures)
        ],
        axis=1,
    )


def _coloured(picture: Picture) -> Picture:
    return picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)


@functools.cache
def _font(scale: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, which needs none on the system; it grows slower than the picture."""
    font = ImageFont.load_default(size=8 + 4 * scale)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font
