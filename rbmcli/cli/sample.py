"""`rbm sample`: fantasy particles of a trained machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

from rbmcli.cli.options import Settings, common_options, force_option
from rbmcli.cli.parameters import FiniteRange
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.io.runfile import RunReader
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.states import States

_ANIMATIONS = (".gif", ".webp", ".mp4")
_ARRAYS = (".npz", ".h5")
#: Frames of an animation where --every is not given.
_FRAMES = 100


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="What to write, by suffix: a grid of pictures (.png), the chains as they walk (.gif,"
    " .webp, .mp4), or the states themselves (.npz, .h5).",
)
@click.option("-n", "--count", type=click.IntRange(min=1), default=100, show_default=True,
              help="Chains, each giving one particle.")  # fmt: skip
@click.option("-k", "--gibbs-steps", type=click.IntRange(min=0), default=100, show_default=True,
              help="Gibbs steps from the start.")  # fmt: skip
@click.option("--start", type=click.Choice(["data", "random", "chains"]), default="data",
              show_default=True, help="Where the chains start: at images, at noise, or where the"
              " chains of the run stood (if its algorithm keeps any).")  # fmt: skip
@click.option("--source", help="The images of --start data.  [default: those of the run]")
@click.option("--columns", type=click.IntRange(min=1), help="Columns of the grid.")
@click.option("--scale", type=click.IntRange(1, 32), default=2, show_default=True,
              help="Picture pixels for each image pixel.")  # fmt: skip
@click.option("--every", type=click.IntRange(min=1), metavar="STEPS",
              help=f"Gibbs steps between frames.  [default: about {_FRAMES} frames]")  # fmt: skip
@click.option("--fps", type=FiniteRange(0.1, 50), default=10.0, show_default=True,
              help="Frames a second.")  # fmt: skip
@force_option
@common_options
def command(
    run_file: Path,
    output: Path,
    count: int,
    gibbs_steps: int,
    start: str,
    source: str | None,
    columns: int | None,
    scale: int,
    every: int | None,
    fps: float,
    force: bool,
    settings: Settings,
) -> None:
    """Draw fantasy particles from the machine in RUN.h5 by Gibbs sampling.

    Pictures show the means of the visible units; .npz and .h5 hold `samples` (drawn states) and
    `means`, both count x image shape. Of a run with --preprocess, pictures and both arrays are
    turned back into pixels.

    \b
    Examples:
      rbm sample run.h5 -o particles.png
      rbm sample run.h5 --start random -n 25 -k 1000 -o chains.gif
      rbm sample run.h5 -n 10000 -o particles.npz
    """
    from rbmcli import _kernels
    from rbmcli.cli.models import load_model, load_preprocessing
    from rbmcli.cli.progress import Progress
    from rbmcli.cli.threads import default_threads
    from rbmcli.files import check_free
    from rbmcli.inference.chains import fantasies
    from rbmcli.io.outputs import save_arrays
    from rbmcli.io.runfile import RunReader
    from rbmcli.pictures.encode import save_picture
    from rbmcli.pictures.tiles import image_grid

    suffix = output.suffix.lower()
    if suffix not in (*_ANIMATIONS, *_ARRAYS, ".png"):
        raise click.BadParameter(
            f"'{output.suffix}' is not one of {', '.join(('.png', *_ANIMATIONS, *_ARRAYS))}",
            param_hint="'--output'",
        )
    check_free(output, force)
    _kernels.set_threads(settings.threads or default_threads())
    with RunReader(run_file) as run:
        model = load_model(run)
        begin = _start(run, model, start, source, count, settings.seed)
        shape = (count, *run.image_shape)
        preprocessing = load_preprocessing(run)

    def shown(values: np.ndarray) -> np.ndarray:
        """States or their means as images."""
        if preprocessing is not None:
            values = preprocessing.invert(values.astype(np.float32, copy=False))
        return np.ascontiguousarray(values).reshape(shape)

    with Progress(gibbs_steps + 1, settings.quiet) as progress:
        chains = fantasies(model, begin, gibbs_steps, settings.seed)
        walk = progress.over(chains, "states of the chains")
        if suffix in _ANIMATIONS:
            step = every or max(1, gibbs_steps // _FRAMES)
            frames = (
                image_grid(shown(means), columns=columns, scale=scale)
                for number, (_, means) in enumerate(walk)
                if number % step == 0 or number == gibbs_steps
            )
            save_picture(output, frames, fps=fps, force=force)
        elif suffix in _ARRAYS:
            samples, means = _last(walk)
            arrays = {"samples": shown(samples.to_array()), "means": shown(means)}
            save_arrays(output, arrays, force=force)
        else:
            _, means = _last(walk)
            grid = image_grid(shown(means), columns=columns, scale=scale)
            save_picture(output, iter([grid]), force=force)
    if not settings.quiet:
        click.echo(f"{output}: {count} particles, {gibbs_steps} Gibbs steps", err=True)


def _last(walk: Iterator[tuple[States, np.ndarray]]) -> tuple[States, np.ndarray]:
    for last in walk:  # noqa: B007
        pass
    return last


def _start(
    run: RunReader, model: Rbm, start: str, source: str | None, count: int, seed: int
) -> States:
    """Visible states for the chains to start from."""
    from rbmcli.cli.datasets import starts
    from rbmcli.draws import Draws, Purpose
    from rbmcli.inference.chains import random_start

    if start == "chains":
        raise RbmError(
            f"{run.path}: the run keeps no chains (its algorithm is {run.config['algorithm']});"
            " use --start data or --start random"
        )
    if start == "random":
        if source is not None:
            raise click.UsageError("--source goes with --start data")
        return random_start(model.visible.units, count, seed)
    images = starts(run, source, model.visible, count, seed)
    draw = Draws(seed).at(Purpose.BINARIZE, 0)
    return images.states(images.rows, model.visible, draw)
