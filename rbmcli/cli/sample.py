"""`rbm sample`: fantasy particles of a trained machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from rbmcli.cli.options import Settings, common_options, force_option, output_option
from rbmcli.cli.parameters import FiniteRange
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.arrays import Floats
    from rbmcli.io.runfile import RunReader
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.states import States
    from rbmcli.pictures.tiles import Picture

_ANIMATIONS = (".gif", ".webp", ".mp4")
_ARRAYS = (".npz", ".h5")
#: Chains where -n is not given.
_COUNT = 100
#: Gibbs steps after which it is known how often temperatures swap.
_MEASURED = 50
#: Frames of an animation where --every is not given.
_FRAMES = 100


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@output_option(
    "What to write, by suffix: a grid of pictures (.png), the chains as they walk (.gif,"
    " .webp, .mp4), or the states themselves (.npz, .h5)."
)
@click.option("-n", "--count", type=click.IntRange(min=1),
              help=f"Chains, each giving one particle.  [default: {_COUNT}; with --start chains no"
              " more than there are]")  # fmt: skip
@click.option("-k", "--gibbs-steps", type=click.IntRange(min=0), default=100, show_default=True,
              help="Gibbs steps from the start.")  # fmt: skip
@click.option("--start", type=click.Choice(["data", "random", "chains"]), default="data",
              show_default=True, help="Where the chains start: at images, at noise, or where the"
              " chains of the run stood (if its algorithm keeps any).")  # fmt: skip
@click.option("--source", help="The images of --start data.  [default: those of the run]")
@click.option("--clamp", metavar="MASK", help="Complete images: keep what MASK says of those of"
              " --start data, start the rest at noise. MASK: a half (upper, lower, left, right), or"
              " a picture, .npy or .npz of an image's shape, not 0 where it is kept.")  # fmt: skip
@click.option("--temperatures", type=click.IntRange(2, 1000), metavar="N",
              help="Let every chain swap with replicas at N temperatures (parallel tempering), so"
              " that it walks between modes; N times the work.")  # fmt: skip
@click.option("--columns", type=click.IntRange(min=1), help="Columns of the grid; of the one"
              " that --clamp makes, columns of three tiles.")  # fmt: skip
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
    count: int | None,
    gibbs_steps: int,
    start: str,
    source: str | None,
    clamp: str | None,
    temperatures: int | None,
    columns: int | None,
    scale: int,
    every: int | None,
    fps: float,
    force: bool,
    settings: Settings,
) -> None:
    """Draw fantasy particles from the machine in RUN.h5 by Gibbs sampling.

    Pictures show the means of the visible units; .npz and .h5 hold `samples` (drawn states) and
    `means`, both count x image shape; of a run with --preprocess, all are turned back into pixels.
    Black and white are the ends of the range that the units can
    have; where that is infinite, of the values in the images of --start data, and without those, in
    each picture itself.

    With --clamp, pictures show each image three times: as it was, what was kept of it (the rest
    grey), and completed.

    \b
    Examples:
      rbm sample run.h5 -o particles.png
      rbm sample run.h5 --start random -n 25 -k 1000 -o chains.gif
      rbm sample run.h5 --start random --temperatures 20 -k 1000 -n 10000 -o particles.npz
      rbm sample run.h5 --source mnist:test --clamp upper -n 30 -o completed.png
    """
    from rbmcli import _kernels
    from rbmcli.cli.models import load_model, load_preprocessing, load_reference
    from rbmcli.cli.progress import Progress
    from rbmcli.cli.threads import default_threads
    from rbmcli.files import check_free
    from rbmcli.inference.chains import fantasies, random_start
    from rbmcli.inference.clamping import Clamp, check_mask
    from rbmcli.inference.ladder import Ladder
    from rbmcli.inference.replicas import WEIGHT, tempered_fantasies
    from rbmcli.io.masks import read_mask
    from rbmcli.io.outputs import save_arrays
    from rbmcli.io.runfile import RunReader
    from rbmcli.pictures.encode import save_picture

    suffix = output.suffix.lower()
    if suffix not in (*_ANIMATIONS, *_ARRAYS, ".png"):
        raise click.BadParameter(
            f"'{output.suffix}' is not one of {', '.join(('.png', *_ANIMATIONS, *_ARRAYS))}",
            param_hint="'--output'",
        )
    if start != "data" and source is not None:
        raise click.UsageError("--source goes with --start data")
    if start != "data" and clamp is not None:
        raise click.UsageError("--clamp keeps parts of images, so it goes with --start data")
    check_free(output, force)
    _kernels.set_threads(settings.threads or default_threads())
    with RunReader(run_file) as run:
        model = load_model(run)
        mask = None
        if clamp is not None:
            mask = read_mask(clamp, run.image_shape)
            check_mask(mask, model.visible.kind, clamp)
        begin = _start(run, model, start, source, count, settings.seed)
        reference = load_reference(run, model)
        first_step = int(run.state["trainer/step"]) if start == "chains" else 0
        shape = (begin.rows, *run.image_shape)
        preprocessing = load_preprocessing(run)

    def as_data(states: NDArray[Any]) -> NDArray[Any]:
        """States or their means (rows, units) as images."""
        values = model.visible.to_data(states)
        if preprocessing is not None:
            values = preprocessing.invert(values.astype(np.float32, copy=False))
        return np.ascontiguousarray(values).reshape(shape)

    own = begin if start == "data" else None
    limits = model.visible.shown_range(own)
    if preprocessing is not None:
        seen = None if own is None else as_data(own.to_array())
        limits = None if seen is None else (float(seen.min()), float(seen.max()))
    picture = _picture(as_data, begin, mask, columns, scale, limits)

    held = None
    if mask is not None:
        held = Clamp(begin, mask)
        begin = random_start(model.visible, begin.rows, settings.seed)
    walk_from = (model, begin, gibbs_steps, settings.seed)
    if temperatures is None:
        ladder = None
        chains = fantasies(*walk_from, clamp=held, first_step=first_step)
    else:
        ladder = Ladder.even(temperatures, weight=WEIGHT)
        chains = tempered_fantasies(
            *walk_from, ladder, reference=reference, clamp=held, first_step=first_step
        )
    with Progress(gibbs_steps + 1, settings.quiet) as progress:
        walk = progress.over(_finite(chains, run_file), "states of the chains")
        if suffix in _ANIMATIONS:
            step = every or max(1, gibbs_steps // _FRAMES)
            frames = (
                picture(means)
                for number, (_, means) in enumerate(walk)
                if number % step == 0 or number == gibbs_steps
            )
            save_picture(output, frames, fps=fps, force=force)
        elif suffix in _ARRAYS:
            samples, means = _last(walk)
            arrays = {"samples": as_data(samples.to_array()), "means": as_data(means)}
            save_arrays(output, arrays, force=force)
        else:
            _, means = _last(walk)
            save_picture(output, iter([picture(means)]), force=force)
    if not settings.quiet:
        done = f"{output}: {begin.rows} particles, {gibbs_steps} Gibbs steps"
        if ladder is not None and gibbs_steps >= _MEASURED:
            done += f"; temperatures swap in {1 - ladder.rejection.max():.0%} of tries or more"
        click.echo(done, err=True)


def _picture(
    as_data: Callable[[NDArray[Any]], NDArray[Any]],
    begin: States,
    mask: NDArray[np.bool_] | None,
    columns: int | None,
    scale: int,
    limits: tuple[float, float] | None,
) -> Callable[[Floats], Picture]:
    """What draws the means of the visible units, (chains, visible units)."""
    from rbmcli.pictures.tiles import completion_grid, image_grid

    if mask is None:
        return lambda means: image_grid(as_data(means), columns, scale, limits)
    originals = as_data(begin.to_array())
    kept = mask.reshape(originals.shape[1:])
    return lambda means: completion_grid(originals, kept, as_data(means), columns, scale, limits)


def _finite(
    walk: Iterator[tuple[States, Floats]], run_file: Path
) -> Iterator[tuple[States, Floats]]:
    """The walk; RbmError where states grow without bound."""
    for step, (states, means) in enumerate(walk):
        if not np.isfinite(means).all():
            raise RbmError(
                f"{run_file}: after {step} Gibbs steps the chains have run away: the weights of"
                " two layers without upper bounds are too large; train with --max-spectral-norm 0.8"
            )
        yield states, means


def _last(walk: Iterator[tuple[States, np.ndarray]]) -> tuple[States, np.ndarray]:
    for last in walk:  # noqa: B007
        pass
    return last


def _start(
    run: RunReader, model: Rbm, start: str, source: str | None, count: int | None, seed: int
) -> States:
    """Visible states for the chains to start from."""
    from rbmcli.cli.datasets import starts
    from rbmcli.cli.models import load_chains
    from rbmcli.draws import Draws, Purpose
    from rbmcli.inference.chains import random_start, start_from_hidden

    if start == "chains":
        hidden = load_chains(run, model)
        if count is not None and count > hidden.rows:
            raise RbmError(
                f"{run.path}: the run keeps {hidden.rows} chains, fewer than the {count} of -n;"
                f" ask for {hidden.rows} at most"
            )
        chosen = hidden.take(np.arange(min(count or _COUNT, hidden.rows)))
        return start_from_hidden(model, chosen, seed, int(run.state["trainer/step"]))
    count = count or _COUNT
    if start == "random":
        return random_start(model.visible, count, seed)
    images = starts(run, source, model.visible, count, seed)
    draw = Draws(seed).at(Purpose.BINARIZE, 0)
    return images.states(images.rows, model.visible, draw)
