"""`rbm train`: from a data source to a run file."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.combinations import check_combinations
from rbmcli.cli.options import Settings, common_options
from rbmcli.cli.training_options import TRAINING, GroupedCommand, TrainOptions, grouped_options

if TYPE_CHECKING:
    from rbmcli.cli.journal import Journal
    from rbmcli.cli.stopping import Stopping
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.learning.trainer import Trainer


@click.command(cls=GroupedCommand, groups=TRAINING)
@click.argument("source", default="digits")
@grouped_options(TRAINING)
@common_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    source: str,
    output: Path,
    resume: bool,
    force: bool,
    settings: Settings,
    **values: Any,
) -> int:
    """Train a machine on SOURCE and write it to a run file.

    SOURCE is an IDX file (plain or gzip), a .npy or .npz file, an HDF5 data set (file.h5:/path), a
    folder of images, or a named set (see `rbm data list`). Without it, the digits that rbm
    generates itself.

    \b
    Examples:
      rbm train mnist --hidden 500 --epochs 20 -o run.h5
      rbm train images.gz --labels labels.gz --only 7 --hidden 50 -o seven.h5
      rbm train mnist --recipe seven -o seven.h5
      rbm train mnist --hidden 500 --max-time 8h --resume -o run.h5
      rbm train mnist --conv 40x11x11 --pool 2 --sparsity-target 0.01 -o conv.h5
      rbm train photos --patches 100000:12x12 --preprocess contrast,zca \\
          --visible-kind gaussian --lr 0.01 --hidden 200 -o patches.h5
    """
    from rbmcli.cli.metrics_log import MetricsLog
    from rbmcli.cli.resuming import with_stored
    from rbmcli.cli.stopping import Stopping
    from rbmcli.cli.threads import use_threads
    from rbmcli.cli.training import Course

    if resume and force:
        raise click.UsageError("--resume goes on with a run, --force replaces it: choose one")
    wanted, resume = resume, resume and output.exists()
    if resume:
        source, seed, values = with_stored(ctx, output, source, settings.seed, values)
        settings = replace(settings, seed=seed)
    options = TrainOptions(**values)
    check_combinations(ctx, options)
    use_threads(settings.threads)

    stopping = Stopping(options.max_time, output, resumed=resume)
    log = MetricsLog(
        options.metrics, output, resumed=wanted, give_up=lambda: stopping.reason is not None
    )
    trainer, writer, journal = _open(
        source, output, options, settings, stopping, resume=resume, force=force
    )
    course = Course(output, settings, stopping, log)
    return course.conclude(writer, lambda: course.train(trainer, journal, options.epochs))


def _open(
    source: str,
    output: Path,
    options: TrainOptions,
    settings: Settings,
    stopping: Stopping,
    *,
    resume: bool,
    force: bool,
) -> tuple[Trainer, RunWriter, Journal]:
    """A trainer on the data, new or where the run file left it; the run's writer and journal."""
    from rbmcli.cli import datasets
    from rbmcli.cli.journal import Journal, in_pixels, preprocessing_state
    from rbmcli.cli.resuming import restored, take_up
    from rbmcli.cli.training import new_machine, new_trainer
    from rbmcli.io.runwriter import RunWriter, check_new
    from rbmcli.io.schema import ROOT

    if not resume:
        check_new(output, force)  # before data are fetched and read
    data = datasets.read(source, options, settings, output if resume else None)
    stopping.training()
    model = new_machine(options, data.image_shape)
    trainer = new_trainer(model, data.training, data.validation, options, settings.seed)
    config = options.config(settings.seed) | {"channels": data.channels}
    seconds = None
    if resume:
        writer = take_up(output, config, data.provenance)
        with ExitStack() as on_failure:
            on_failure.enter_context(writer)
            seconds = restored(output, ROOT, trainer, model.filters().shape)
            on_failure.pop_all()
        section = writer.section(ROOT)
    else:
        trainer.initialize()
        writer = RunWriter.create(
            output,
            config=config,
            data=data.provenance,
            image_shape=data.image_shape,
            force=force,
        )
        section = writer.begin(ROOT, snapshot_shape=model.filters().shape)
    datasets.tell(data.training, settings.quiet)
    journal = Journal(
        trainer,
        section,
        options.snapshot_every,
        options.checkpoint_every,
        lambda: in_pixels(model.filters(), data.preprocessing, data.image_shape),
        preprocessing_state(data.preprocessing),
        seconds,
    )
    return trainer, writer, journal
