"""`rbm render-gif`: the filters of one or several runs, animated."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.parameters import FiniteRange
from rbmcli.cli.saying import say
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.io.runfile import RunReader
    from rbmcli.io.section import Section

#: How many filters of a run are drawn where --filters is not given.
_MOST_FILTERS = 1024


def _filters(_ctx: click.Context, _param: click.Parameter, value: str | None) -> slice | None:
    """Read `N`, `A-B` or `all`."""
    if value is None:
        return None
    if value == "all":
        return slice(0, None)
    parts = re.fullmatch(r"(?:(\d+)-)?(\d+)", value)
    if parts is None:
        raise click.BadParameter(f"'{value}' is not a number, a range like 10-19, or all")
    first, last = parts.groups()
    chosen = slice(int(first), int(last) + 1) if first else slice(0, int(last))
    if chosen.start >= chosen.stop:
        raise click.BadParameter(f"'{value}' chooses no filter")
    return chosen


@click.command()
@click.argument(
    "run_files", metavar="RUN.h5...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@output_option(
    "What to write, by suffix: an animation (.gif, .webp, .mp4), or the last frame (.png)."
)
@click.option("--fps", type=FiniteRange(0.1, 50), default=10.0, show_default=True,
              help="Frames a second.")  # fmt: skip
@click.option("--scale", type=click.IntRange(1, 32), default=1, show_default=True,
              help="Picture pixels for each weight.")  # fmt: skip
@click.option("--columns", type=click.IntRange(min=1), help="Columns of the grid of a run."
              "  [default: near-square]")  # fmt: skip
@click.option("--filters", callback=_filters, metavar="N|A-B|all",
              help="The first N filters, those from A to B counted from 0, or all.  [default:"
              f" {_MOST_FILTERS}]")  # fmt: skip
@click.option("--layer", type=click.IntRange(min=0), default=0, show_default=True, metavar="INDEX",
              help="The layer of a stack whose filters are drawn, from 0; of upper layers, what"
              " their units add to an image through the layers below.")  # fmt: skip
@click.option("--up-down", is_flag=True,
              help="Draw the first layer while all layers were trained together.")  # fmt: skip
@click.option("--every", type=click.IntRange(min=1), default=1, show_default=True, metavar="N",
              help="Draw each Nth snapshot, and the last.")  # fmt: skip
@click.option("--normalize", type=click.Choice(["each", "all"]), default="each",
              show_default=True, help="Stretch each filter to full contrast, or show all of them"
              " on one scale, with zero in the middle.")  # fmt: skip
@click.option("--captions/--no-captions", default=True, show_default=True,
              help="Write the run's name and the epoch over its filters.")  # fmt: skip
@click.option("--greys", type=click.IntRange(8, 255), default=16, show_default=True,
              help="Greys of a .gif or .webp; more make larger files.")  # fmt: skip
@force_option
@common_options
def command(
    run_files: tuple[Path, ...],
    output: Path,
    fps: float,
    scale: int,
    columns: int | None,
    filters: slice | None,
    layer: int,
    up_down: bool,
    every: int,
    normalize: Literal["each", "all"],
    captions: bool,
    greys: int,
    force: bool,
    settings: Settings,
) -> None:
    """Animate how the filters of one or several runs form.

    There is a frame for each snapshot in RUN.h5. Several runs stand side by side; they keep step
    by epoch, and one that has ended shows its last filters. A run still in progress is drawn as
    far as it has come.

    \b
    Examples:
      rbm render-gif run.h5 -o filters.gif
      rbm render-gif cd1.h5 cd5.h5 -o beside.gif --scale 2 --fps 5
      rbm render-gif run.h5 -o filters.png --filters 0-99 --columns 20
      rbm render-gif deep.h5 --layer 1 -o second.gif
    """
    from rbmcli.cli.progress import Progress
    from rbmcli.files import check_output
    from rbmcli.io.runfile import RunReader
    from rbmcli.pictures.animation import Layout, filter_frames, timeline
    from rbmcli.pictures.encode import save_picture

    check_output(output, force)
    with ExitStack() as stack:
        files = [stack.enter_context(RunReader(path)) for path in run_files]
        runs = [_section(file, layer, up_down) for file in files]
        epochs = timeline(runs, every)
        if output.suffix.lower() == ".png":
            epochs = epochs[-1:]
        if filters is None:
            filters = slice(0, _MOST_FILTERS)
            for run in runs:
                hidden = run.filters.shape[1]
                if hidden > _MOST_FILTERS and not settings.quiet:
                    say(
                        f"{run.path}: drawing the first {_MOST_FILTERS} of {hidden} filters;"
                        " --filters all draws every one"
                    )
        layout = Layout(filters, columns, scale, normalize, captions)
        frames = filter_frames(runs, epochs, layout)
        with Progress(len(epochs), settings.quiet) as progress:
            shown = progress.over(frames, "frames")
            save_picture(output, shown, fps=fps, greys=greys, force=force)
    if not settings.quiet:
        count = f"{len(epochs)} frame{'s' if len(epochs) > 1 else ''}"
        say(f"{output}: {count}, {output.stat().st_size / 1e6:.2f} MB")


def _section(run: RunReader, layer: int, up_down: bool) -> Section:
    """What is drawn of a run; RbmError where it is not there."""
    from rbmcli.io.schema import UP_DOWN

    if up_down:
        if UP_DOWN not in run.sections:
            raise RbmError(f"{run.path}: its layers were not trained together by up-down")
        return run.sections[UP_DOWN]
    if layer >= len(run.layers):
        raise RbmError(
            f"{run.path}: has no layer {layer}; its layers are 0 to {len(run.layers) - 1}"
        )
    return run.layers[layer]
