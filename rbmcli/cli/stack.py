"""`rbm stack`: machines on top of each other, trained one by one, in one run file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options
from rbmcli.cli.saying import say
from rbmcli.cli.stack_options import STACKING, StackOptions
from rbmcli.cli.training_options import GroupedCommand, grouped_options

if TYPE_CHECKING:
    from rbmcli.cli.datasets import TrainingData
    from rbmcli.io.runwriter import RunWriter


@click.command(cls=GroupedCommand, groups=STACKING)
@click.argument("source", default="digits")
@grouped_options(STACKING)
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str,
    output: Path,
    resume: bool,
    force: bool,
    grow: bool,
    settings: Settings,
    **values: Any,
) -> int:
    """Train machines on top of each other, from the bottom up, and write them to a run file.

    Each layer learns from what the trained layers below make of the images of SOURCE, which is as
    for `rbm train`. The top layer is a new feature space for a classifier or for clustering (`rbm
    features`), and with --label-units classifies by itself; all layers together are a deep belief
    network, to be sampled, evaluated, and exported as the start of a larger network.

    \b
    Examples:
      rbm stack mnist --add-layer 500 --add-layer 500 --add-layer 2000 -o deep.h5
      rbm stack mnist --recipe dbn -o dbn.h5
      rbm stack mnist --epochs 20 --add-layer 500 --add-layer 300,kind=nrelu,lr=0.001 -o mixed.h5
      rbm stack mnist --add-layer conv=40x11x11 --add-layer conv=40x5x5,pool=2 -o maps.h5
      rbm stack mnist -o run.h5 --grow --add-layer 1000,epochs=30
    """
    from rbmcli.cli import datasets
    from rbmcli.cli.growing import with_grown
    from rbmcli.cli.metrics_log import MetricsLog
    from rbmcli.cli.resuming import with_stored
    from rbmcli.cli.stacking import Stacking, check_sizes, classes_of
    from rbmcli.cli.stopping import Stopping
    from rbmcli.cli.threads import use_threads
    from rbmcli.cli.training import Course
    from rbmcli.io.runwriter import check_new

    if resume + force + grow > 1:
        raise click.UsageError(
            "--resume goes on with a run, --grow adds layers to one, and --force replaces it:"
            " choose one"
        )
    wanted, resume = resume, resume and output.exists()
    if resume or grow:
        earlier = with_grown if grow else with_stored
        source, seed, values = earlier(ctx, output, source, settings.seed, values)
        settings = replace(settings, seed=seed)
    options = StackOptions.resolve(ctx, values)
    use_threads(settings.threads)

    stopping = Stopping(options.defaults.max_time, output, resumed=resume)
    log = MetricsLog(
        options.defaults.metrics,
        output,
        resumed=wanted or grow,
        give_up=lambda: stopping.reason is not None,
    )
    if not (resume or grow):
        check_new(output, force)  # before data are fetched and read
    data = datasets.read(source, options.layers[0], settings, output if resume or grow else None)
    classes = classes_of(data, source) if options.label_units else 0
    notices = check_sizes(options.layers, data.image_shape)
    for notice in () if settings.quiet else notices:
        say(f"note: {notice}")
    stopping.training()
    writer = _writer(output, options, settings, data, resume=resume, grow=grow, force=force)
    datasets.tell(data.training, settings.quiet)
    course = Course(output, settings, stopping, log)
    stacking = Stacking(course, writer, data, classes, options)
    return course.conclude(writer, stacking.train)


def _writer(
    output: Path,
    options: StackOptions,
    settings: Settings,
    data: TrainingData,
    *,
    resume: bool,
    grow: bool,
    force: bool,
) -> RunWriter:
    """What writes the run file, new or where it was left."""
    from rbmcli.cli.growing import but_for_what_is_added
    from rbmcli.cli.resuming import take_up
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.io.schema import ROOT, layer_key

    config = options.config(settings.seed) | {"channels": data.channels}
    if resume:
        return take_up(output, config, data.provenance)
    if grow:
        writer = take_up(output, config, data.provenance, but_for_what_is_added)
        if ROOT in writer.sections:
            writer.rename(ROOT, layer_key(0))
        return writer
    return RunWriter.create(
        output, config=config, data=data.provenance, image_shape=data.image_shape, force=force
    )
