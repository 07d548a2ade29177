"""Types of option values beyond click's own."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import click

from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import STEPS
from rbmcli.io.sizes import Filters, Patches, Size
from rbmcli.learning.schedules import SPARING, Interval, Schedule
from rbmcli.model.units import unit_kind

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class FiniteRange(click.FloatRange):
    """A range of numbers that takes neither NaN, which lies on no side of a bound, nor infinity."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse what was written."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{number:g} is not a finite number", param, ctx)
        return number


class UnitKindType(click.ParamType[str]):
    """The name of a kind of unit."""

    name = "kind"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the name."""
        try:
            return unit_kind(str(value)).name
        except RbmError as error:
            self.fail(str(error), param, ctx)


class LayerType(click.ParamType[int | Literal["all"]]):
    """The index of a layer, from 0, or all."""

    name = "layer"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["all"]:
        """Parse what was written."""
        if value == "all":
            return "all"
        if not re.fullmatch(r"\d{1,9}", str(value), re.ASCII):
            self.fail(f"'{value}' is no layer: write 0, 1, ..., or all", param, ctx)
        return int(value)


class ImageShapeType(click.ParamType[tuple[int, ...]]):
    """The shape of an image, written 28x28 or 3x32x32."""

    name = "shape"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Parse what was written."""
        if not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", str(value), re.ASCII):
            self.fail(f"'{value}' is not a shape: write 28x28", param, ctx)
        return tuple(map(int, str(value).split("x")))


class ScheduleType(click.ParamType[Schedule]):
    """A schedule whose values all lie within bounds."""

    name = "schedule"

    def __init__(self, low: float, high: float = float("inf"), *, whole: bool = False) -> None:
        self.low = low
        self.high = high
        self.whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Schedule:
        """Parse what was written; a schedule passes through."""
        if isinstance(value, Schedule):
            return value
        try:
            schedule = Schedule.parse(str(value))
        except RbmError as error:
            self.fail(str(error), param, ctx)
        for number in schedule.values:
            if not (self.low <= number <= self.high and math.isfinite(number)):
                bounds = f"at least {self.low:g}"
                if self.high < float("inf"):
                    bounds = f"from {self.low:g} to {self.high:g}"
                self.fail(f"{number:g} is out of range: it must be {bounds}", param, ctx)
            if self.whole and number != round(number):
                self.fail(f"{number:g} is not a whole number", param, ctx)
        return schedule


class IntervalType(click.ParamType[Interval]):
    """Every so many epochs or steps, or `auto` where that is allowed."""

    name = "interval"

    def __init__(self, *, auto: bool = False) -> None:
        self._auto = auto

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Interval:
        """Parse what was written; an interval passes through."""
        if isinstance(value, Interval):
            return value
        if self._auto and value == SPARING.text:
            return SPARING
        try:
            return Interval.parse(str(value))
        except RbmError as error:
            self.fail(str(error), param, ctx)


class DurationType(click.ParamType[float]):
    """Seconds, written 90, 90s, 30m, 8h or 1d."""

    name = "duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse what was written into seconds."""
        text = str(value)
        factor = _SECONDS.get(text[-1:])
        try:
            seconds = float(text if factor is None else text[:-1]) * (factor or 1)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            self.fail(f"'{text}' is not a duration: write 90s, 30m, 8h or 1d", param, ctx)
        return seconds


class SizeType(click.ParamType[Size]):
    """Height and width, written 24x32."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """Parse what was written; a size passes through."""
        if isinstance(value, Size):
            return value
        try:
            return Size.parse(str(value))
        except RbmError as error:
            self.fail(str(error), param, ctx)


class PatchesType(click.ParamType[Patches]):
    """A number of patches and their size, written 10000:12x12."""

    name = "patches"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Patches:
        """Parse what was written; patches pass through."""
        if isinstance(value, Patches):
            return value
        try:
            return Patches.parse(str(value))
        except RbmError as error:
            self.fail(str(error), param, ctx)


class FiltersType(click.ParamType[Filters]):
    """A number of filters and their size, written 40x11x11."""

    name = "filters"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> Filters:
        """Parse what was written; filters pass through."""
        if isinstance(value, Filters):
            return value
        try:
            return Filters.parse(str(value))
        except RbmError as error:
            self.fail(str(error), param, ctx)


class StepsType(click.ParamType[str]):
    """Names of preprocessing steps, with commas; each at most once."""

    name = "steps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the names; the same text without spaces."""
        names = [name.strip() for name in str(value).split(",")]
        for number, name in enumerate(names):
            if name not in STEPS:
                self.fail(f"'{name}' is not a step; there are {', '.join(STEPS)}", param, ctx)
            if name in names[:number]:
                self.fail(f"{name} stands there twice; once is enough", param, ctx)
        return ",".join(names)
