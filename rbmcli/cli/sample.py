"""`rbm sample`: fantasy particles of a trained machine or stack."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from rbmcli.cli.options import (
    Settings,
    channels_option,
    common_options,
    follow_links_option,
    force_option,
    output_option,
)
from rbmcli.cli.parameters import FiniteRange
from rbmcli.cli.saying import say
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.arrays import Floats
    from rbmcli.inference.clamping import Clamp
    from rbmcli.io.runfile import RunReader
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.stack import Stack
    from rbmcli.model.states import States

#: Frames of an animation where --every is not given.
_FRAMES = 100
#: Chains where -n is not given; of each class, where classes are named.
_COUNT = 100
_COUNT_OF_CLASS = 10
#: Gibbs steps after which it is known how often temperatures swap.
_MEASURED = 50


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@output_option(
    "What to write, by suffix: a grid of pictures (.png), the chains as they walk (.gif,"
    " .webp, .mp4), or the states themselves (.npz, .h5)."
)
@click.option("-n", "--count", type=click.IntRange(min=1),
              help="Chains, each giving one particle; with --class, so many of each class."
              f"  [default: {_COUNT}, or {_COUNT_OF_CLASS} of each class; with --start chains no"
              " more than there are]")  # fmt: skip
@click.option("-k", "--gibbs-steps", type=click.IntRange(min=0), default=100, show_default=True,
              help="Gibbs steps from the start.")  # fmt: skip
@click.option("--start", type=click.Choice(["data", "random", "chains"]),
              help="Where the chains start: at images, at noise, or where the chains of the run"
              " stood (if its algorithm keeps any).  [default: data; with --class"
              " random]")  # fmt: skip
@click.option("--source", help="The images of --start data.  [default: those of the run]")
@channels_option
@follow_links_option
@click.option("--class", "classes", type=click.IntRange(min=0), multiple=True, metavar="LABEL",
              help="Draw images of this class: hold the label units of a stack that has them. Once"
              " for each class; each has a row of the grid.")  # fmt: skip
@click.option("--clamp", metavar="MASK", help="Complete images: keep what MASK says of those of"
              " --start data, start the rest at noise. MASK: a half (upper, lower, left, right), or"
              " a picture, .npy or .npz of an image's shape, not 0 where it is kept.")  # fmt: skip
@click.option("--walk", "walking", type=click.Choice(["top", "up-down", "all"]),
              help="How a stack walks: its top layer alone, from which images are drawn in the"
              " end; images up to the top layer and down again in every step; or all layers at"
              " once, each given those below and above it.  [default: up-down with --clamp, else"
              " top]")  # fmt: skip
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
    start: str | None,
    source: str | None,
    channels: str | None,
    follow_links: bool,
    classes: tuple[int, ...],
    clamp: str | None,
    walking: str | None,
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

    In a stack, the chains are those of its top machine: images go up to it to start them, and what
    they come to goes down through the layers below. With label units, --class holds them. With
    --walk up-down or all, the chains are those of all layers.

    With --clamp, pictures show each image three times: as it was, what was kept of it (the rest
    grey), and completed. A stack walks up and down.

    \b
    Examples:
      rbm sample run.h5 -o particles.png
      rbm sample run.h5 --start random -n 25 -k 1000 -o chains.gif
      rbm sample run.h5 --start random --temperatures 20 -k 1000 -n 10000 -o particles.npz
      rbm sample run.h5 --source mnist:test --clamp upper -n 30 -o completed.png
      rbm sample maps.h5 --clamp left -n 20 -k 200 -o completed.png
      rbm sample stack.h5 --class 3 --class 8 -n 10 -k 1000 -o digits.png
    """
    from rbmcli.cli import sample_output
    from rbmcli.cli.models import load_chains, load_preprocessing, load_reference, load_stack
    from rbmcli.cli.progress import Progress
    from rbmcli.cli.sample_start import start_states, usual_images
    from rbmcli.cli.threads import use_threads
    from rbmcli.draws import Draws
    from rbmcli.files import check_output
    from rbmcli.inference.chains import fantasies, random_start
    from rbmcli.inference.clamping import Clamp, check_mask
    from rbmcli.inference.descent import descend
    from rbmcli.inference.hierarchy import at_once, by_turns, usual_biases
    from rbmcli.inference.ladder import Ladder
    from rbmcli.inference.replicas import WEIGHT, tempered_fantasies
    from rbmcli.io.masks import read_mask
    from rbmcli.io.runfile import RunReader

    suffixes = (".png", *sample_output.ANIMATIONS, *sample_output.ARRAYS)
    if output.suffix.lower() not in suffixes:
        raise click.BadParameter(
            f"'{output.suffix}' is not one of {', '.join(suffixes)}", param_hint="'--output'"
        )
    if start is None:
        start = "random" if classes and source is None else "data"
    if start != "data" and source is not None:
        raise click.UsageError("--source goes with --start data")
    if channels is not None and source is None:
        raise click.UsageError("--channels goes with --source")
    if walking == "top" and clamp is not None:
        raise click.UsageError("--clamp holds images, so all layers walk: --walk up-down, or all")
    if walking in ("up-down", "all"):
        if temperatures is not None or classes:
            other = "--class" if classes else "--temperatures"
            raise click.UsageError(f"{other} goes with --walk top")
        if start != "data":
            raise click.UsageError(f"--walk {walking} goes with --start data")
    if classes and clamp is not None:
        raise click.UsageError("--class holds label units, and --clamp images: choose one of them")
    if start != "data" and clamp is not None:
        raise click.UsageError("--clamp keeps parts of images, so it goes with --start data")
    check_output(output, force)
    use_threads(settings.threads)
    with RunReader(run_file) as run:
        stack = load_stack(run)
        top, section, mask = stack.top, run.layers[-1], None
        if clamp is not None:
            mask = read_mask(clamp, run.image_shape)
            check_mask(mask, stack.image_layer.kind, clamp)
        if len(stack.machines) == 1 and not top.classes:
            walking = "top"
        elif walking is None:
            walking = "top" if mask is None else "up-down"
        if walking != "top" and temperatures is not None:
            raise RbmError(
                f"{run_file}: is a stack, and --temperatures goes with --walk top, which --clamp"
                " does not: leave one of them out"
            )
        if walking == "all":
            _check_at_once(run_file, stack)
        held = None
        if classes:
            held = _label_clamp(run, top, classes, count or _COUNT_OF_CLASS)
            columns = columns or count or _COUNT_OF_CLASS
            count = held.kept.rows
        if count is None:
            count = _COUNT
            if start == "chains":
                count = min(count, load_chains(section, top).rows)
        reading: dict[str, Any] = {"channels": channels, "follow_links": follow_links}
        begin = start_states(
            run,
            stack,
            start,
            source,
            count,
            settings.seed,
            quiet=settings.quiet,
            **reading,
        )
        if walking == "all":
            usual = usual_biases(stack, usual_images(run, stack, source, settings.seed, **reading))
        reference = load_reference(section, top)
        first_step = section.step if start == "chains" else 0
        images = sample_output.Images(
            stack.image_layer, run.image_shape, load_preprocessing(run), begin.images, mask
        )

    visible = begin.visible
    if walking != "top":
        assert begin.images is not None
        visible = begin.images
    if mask is not None:
        held = Clamp(visible, mask)
        visible = random_start(stack.image_layer, count, settings.seed)
    walk_from = (top, visible, gibbs_steps, settings.seed)
    ladder = None
    if walking == "up-down":
        chains = by_turns(stack, visible, gibbs_steps, settings.seed, clamp=held)
    elif walking == "all":
        chains = at_once(stack, visible, usual, gibbs_steps, settings.seed, clamp=held)
    elif temperatures is None:
        chains = fantasies(*walk_from, clamp=held, first_step=first_step)
    else:
        ladder = Ladder.even(temperatures, weight=WEIGHT)
        chains = tempered_fantasies(
            *walk_from, ladder, reference=reference, clamp=held, first_step=first_step
        )
    draws = Draws(settings.seed)

    def seen(number: int, states: States, means: Floats) -> tuple[States, Floats]:
        if walking != "top":
            return states, means
        return descend(stack, states, means, draws, first_step + number)

    every = every or max(1, gibbs_steps // _FRAMES)
    frames = {*range(0, gibbs_steps, every), gibbs_steps}
    with Progress(gibbs_steps + 1, settings.quiet) as progress:
        steps = progress.over(sample_output.finite(chains, run_file), "states of the chains")
        picture = images.drawer(columns, scale)
        sample_output.write(
            output, steps, seen, images, picture, frames=frames, fps=fps, force=force
        )
    if not settings.quiet:
        done = f"{output}: {count} particles, {gibbs_steps} Gibbs steps"
        if ladder is not None and gibbs_steps >= _MEASURED:
            done += f"; temperatures swap in {1 - ladder.rejection.max():.0%} of tries or more"
        say(done)


def _check_at_once(run_file: Path, stack: Stack) -> None:
    from rbmcli.inference.hierarchy import check_at_once

    try:
        check_at_once(stack)
    except RbmError as error:
        raise RbmError(f"{run_file}: its layers cannot all walk at once: {error}") from None


def _label_clamp(run: RunReader, top: Rbm, classes: tuple[int, ...], count: int) -> Clamp:
    """Holds the label units of `count` chains at each class."""
    from rbmcli.inference.labels import label_clamp

    if not top.classes:
        raise RbmError(f"{run.path}: has no label units, which --class holds; leave it out")
    if max(classes) >= top.classes:
        raise RbmError(
            f"--class {max(classes)}: {run.path} has {top.classes} classes; name one from 0 to"
            f" {top.classes - 1}"
        )
    return label_clamp(top, np.repeat(classes, count))
