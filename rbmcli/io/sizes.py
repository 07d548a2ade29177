"""Sizes of crops, patches and filters, as they are written."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rbmcli.errors import RbmError


@dataclass(frozen=True)
class Size:
    """Rows and columns of a crop or patch, written 24x32."""

    height: int
    width: int

    @staticmethod
    def parse(text: str) -> Size:
        """Read HxW; RbmError for anything else."""
        found = re.fullmatch(r"([1-9]\d{0,8})x([1-9]\d{0,8})", text.strip(), re.ASCII)
        if found is None:
            raise RbmError(f"'{text}' is not a size: write 24x32, height first")
        return Size(int(found[1]), int(found[2]))

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.height}x{self.width}"


@dataclass(frozen=True)
class Patches:
    """How many patches of which size, written 10000:12x12."""

    count: int
    size: Size

    @staticmethod
    def parse(text: str) -> Patches:
        """Read N:HxW; RbmError for anything else."""
        found = re.fullmatch(r"([1-9]\d{0,11}):(.*)", text.strip(), re.ASCII)
        if found is None:
            raise RbmError(f"'{text}' is not a number and size of patches: write 10000:12x12")
        return Patches(int(found[1]), Size.parse(found[2]))

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.count}:{self.size.text}"


@dataclass(frozen=True)
class Filters:
    """How many filters of which size, written 40x11x11."""

    count: int
    size: Size

    @staticmethod
    def parse(text: str) -> Filters:
        """Read KxHxW; RbmError for anything else."""
        found = re.fullmatch(r"([1-9]\d{0,5})x([1-9]\d{0,3}x[1-9]\d{0,3})", text.strip(), re.ASCII)
        if found is None:
            raise RbmError(
                f"'{text}' is not a number and size of filters: write 40x11x11, height before width"
            )
        return Filters(int(found[1]), Size.parse(found[2]))

    @property
    def text(self) -> str:
        """As it is written."""
        return f"{self.count}x{self.size.text}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(number, height, width)."""
        return self.count, self.size.height, self.size.width
