"""`rbm stack`: machines on top of each other, trained one by one, in one run file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options
from rbmcli.cli.stack_options import STACKING, StackOptions
from rbmcli.cli.training_options import GroupedCommand
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.cli.datasets import TrainingData
    from rbmcli.cli.stack_options import LayerOptions
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.learning.inputs import Inputs
    from rbmcli.learning.trainer import Trainer
    from rbmcli.model.rbm import Rbm


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
      rbm stack mnist -o run.h5 --grow --add-layer 1000,epochs=30
    """
    from rbmcli import _kernels
    from rbmcli.cli.growing import with_grown
    from rbmcli.cli.resuming import with_stored
    from rbmcli.cli.stopping import STOPPED, Stopping
    from rbmcli.cli.threads import default_threads

    if resume + force + grow > 1:
        raise click.UsageError(
            "--resume goes on with a run, --grow adds layers to one, --force replaces it: choose one"
        )
    resume = resume and output.exists()
    if resume:
        source, seed, values = with_stored(ctx, output, source, settings.seed, values)
        settings = replace(settings, seed=seed)
    elif grow:
        source, seed, values = with_grown(ctx, output, source, settings.seed, values)
        settings = replace(settings, seed=seed)
    options = StackOptions.resolve(ctx, values)
    _kernels.set_threads(settings.threads or default_threads())

    with Stopping(options.defaults.max_time) as stopping:
        data, classes = _read(source, output, options, settings, resumed=resume or grow)
        course = Course(output, settings, stopping, MetricsLog(options.defaults.metrics))
        writer = _writer(output, options, settings, data, resumed=resume or grow, force=force)
        stacking = Stacking(course, writer, data, classes, options)
        return course.conclude(writer, stacking.train)
