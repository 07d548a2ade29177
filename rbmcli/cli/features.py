"""`rbm features`: what images make of hidden units, for classifiers and clustering."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from rbmcli.cli.options import (
    Settings,
    channels_option,
    common_options,
    follow_links_option,
    force_option,
    output_option,
)
from rbmcli.cli.parameters import LayerType
from rbmcli.cli.saying import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rbmcli.arrays import Floats
    from rbmcli.cli.progress import Progress
    from rbmcli.draws import Draws
    from rbmcli.learning.batch import Images
    from rbmcli.model.stack import Stack

_SUFFIXES = (".h5", ".npz")


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@click.argument("source")
@output_option("The .h5 or .npz file to write.")
@click.option("--layer", type=LayerType(), metavar="INDEX|all",
              help="Whose hidden units: a layer, counted from 0 at the bottom, or all, side by side"
              " from the bottom up.  [default: the top layer]")  # fmt: skip
@click.option("--samples", is_flag=True, help="Draw the units, instead of taking their means.")
@click.option("--labels", metavar="FILE",
              help="Labels of the images.  [default: those in SOURCE, if any]")  # fmt: skip
@click.option("--binarize", type=click.Choice(["sample", "threshold", "none"]), default="none",
              show_default=True, help="How values become states of the images' units.")  # fmt: skip
@channels_option
@follow_links_option
@click.option("--limit", type=click.IntRange(min=1), help="Keep the first so many images.")
@force_option
@common_options
def command(
    run_file: Path,
    source: str,
    output: Path,
    layer: int | Literal["all"] | None,
    samples: bool,
    labels: str | None,
    binarize: str,
    channels: str | None,
    follow_links: bool,
    limit: int | None,
    force: bool,
    settings: Settings,
) -> None:
    """Write the activations of the hidden units in RUN.h5 for the images of SOURCE.

    FILE holds `features` (images x units) and, where the images have labels, `labels`. Images are
    preprocessed as those of the run. What is written is what a layer above would be fed: means, but
    of rectified units max(0, x).

    \b
    Examples:
      rbm features stack.h5 mnist -o train.h5
      rbm features stack.h5 mnist:test --layer all -o test.npz
    """
    import numpy as np

    from rbmcli.cli.datasets import as_seen, tell
    from rbmcli.cli.models import load_stack
    from rbmcli.cli.progress import Progress
    from rbmcli.cli.threads import use_threads
    from rbmcli.draws import Draws
    from rbmcli.files import check_output
    from rbmcli.inference.features import chosen_layers, width
    from rbmcli.io.outputs import Rows, save_arrays
    from rbmcli.io.runfile import RunReader

    if output.suffix.lower() not in _SUFFIXES:
        raise click.BadParameter(
            f"'{output.suffix}' is not one of {', '.join(_SUFFIXES)}", param_hint="'--output'"
        )
    check_output(output, force)
    use_threads(settings.threads)
    with RunReader(run_file) as run:
        stack = load_stack(run)
        layers = chosen_layers(run_file, stack, layer)
        images = as_seen(
            run,
            source,
            stack.image_layer,
            np.arange,
            binarize,
            channels=channels,
            follow_links=follow_links,
            quiet=settings.quiet,
            labels=labels,
            limit=limit,
        )
    tell(images, settings.quiet)
    shape = (len(images.rows), width(stack, layers))
    with Progress(100, settings.quiet) as progress:
        blocks = _blocks(stack, images, layers, samples, Draws(settings.seed), progress)
        arrays = {"features": Rows(shape, np.dtype(np.float32), blocks)}
        if images.labels is not None:
            arrays["labels"] = Rows.of(images.labels[images.rows])
        save_arrays(output, arrays, force=force)
    if not settings.quiet:
        with_labels = "" if images.labels is None else ", with labels"
        say(f"{output}: {shape[0]} images x {shape[1]} features{with_labels}")


def _blocks(
    stack: Stack,
    images: Images,
    layers: Sequence[int],
    samples: bool,
    draws: Draws,
    progress: Progress,
) -> Iterator[Floats]:
    """The features of all images, some at a time."""
    from rbmcli.draws import Purpose
    from rbmcli.inference.features import features, images_at_once

    step = images_at_once(stack)
    for start in range(0, len(images.rows), step):
        rows = images.rows[start : start + step]
        draw = draws.at(Purpose.BINARIZE, 0, 0, start)
        visible = images.states(rows, stack.image_layer, draw)
        yield features(stack, visible, draw, layers, sampled=samples)
        progress.part("images", (start + len(rows)) / len(images.rows))
