"""`rbm train`: from a data source to a run file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.combinations import check_combinations
from rbmcli.cli.options import Settings, common_options
from rbmcli.cli.training_options import TRAINING, GroupedCommand, TrainOptions, grouped_options
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.cli.datasets import TrainingData
    from rbmcli.cli.journal import Journal
    from rbmcli.cli.stopping import Stopping
    from rbmcli.io.runwriter import RunWriter
    from rbmcli.learning.trainer import Trainer


#: What is said of pairs of layers without upper bounds, once their weights are large.
_NO_DENSITY = (
    "the spectral norm of the weights is 1 or more, where two layers of gaussian or nrelu units may"
    " have no density; --max-spectral-norm 0.7, or less, keeps it below"
)


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
      rbm train photos --patches 100000:12x12 --preprocess contrast,zca \\
          --visible-kind gaussian --lr 0.01 --hidden 200 -o patches.h5
    """
    from rbmcli import _kernels
    from rbmcli.cli.journal import gathering
    from rbmcli.cli.resuming import with_stored
    from rbmcli.cli.stopping import STOPPED, Stopping
    from rbmcli.cli.threads import default_threads
    from rbmcli.learning.trainer import Diverged

    if resume and force:
        raise click.UsageError("--resume goes on with a run, --force replaces it: choose one")
    resume = resume and output.exists()
    if resume:
        source, seed, values = with_stored(ctx, output, source, settings.seed, values)
        settings = replace(settings, seed=seed)
    options = TrainOptions(**values)
    check_combinations(ctx, options)
    _kernels.set_threads(settings.threads or default_threads())

    with Stopping(options.max_time) as stopping:
        trainer, writer, journal = _open(
            source, output, options, settings, resume=resume, force=force
        )
        with gathering(writer):
            try:
                reason = _train(trainer, journal, options, settings, stopping)
            except Diverged as error:
                raise RbmError(f"{output}: {error} (the last good checkpoint is kept)") from None
            if reason is None:
                writer.finish()
            else:
                writer.stop()
    if not settings.quiet:
        done = f"stopped {reason}; go on with --resume" if reason else "done"
        click.echo(f"{output}: {done}", err=True)
    return 0 if reason is None else STOPPED


def _train(
    trainer: Trainer,
    journal: Journal,
    options: TrainOptions,
    settings: Settings,
    stopping: Stopping,
) -> str | None:
    """Train to the end, or until there is a reason to stop; return it, a checkpoint written."""
    from rbmcli.cli.journal import MetricsLog
    from rbmcli.cli.progress import TrainingProgress
    from rbmcli.learning.trainer import EpochDone

    progress = TrainingProgress(
        options.epochs, trainer.steps_per_epoch, trainer.step, settings.quiet
    )
    warned = settings.quiet
    with progress, MetricsLog(options.metrics) as log:
        for event in trainer.run():
            journal.note(event)
            if isinstance(event, EpochDone):
                if not warned and event.metrics.get("spectral_norm", 0.0) >= 1:
                    warned = True
                    click.echo(f"note: epoch {event.epoch}: {_NO_DENSITY}", err=True)
                progress.epoch(event.epoch, event.metrics["reconstruction_error"])
                log.write(event.metrics)
            else:
                progress.step(event.step, event.images)
            if stopping.reason is not None and not trainer.finished:
                break
    journal.checkpoint()
    return None if trainer.finished else stopping.reason


def _open(
    source: str,
    output: Path,
    options: TrainOptions,
    settings: Settings,
    *,
    resume: bool,
    force: bool,
) -> tuple[Trainer, RunWriter, Journal]:
    """A trainer on the data, new or where the run file left it; the run's writer and journal."""
    from rbmcli.cli import datasets
    from rbmcli.cli.journal import Journal
    from rbmcli.cli.resuming import take_up
    from rbmcli.io.runwriter import RunWriter, check_new
    from rbmcli.io.section import ROOT

    if not resume:
        check_new(output, force)  # before data are fetched and read
    data = datasets.read(source, options, settings, output if resume else None)
    trainer = _trainer(data, options, settings.seed)
    config = options.config(settings.seed)
    intervals = options.snapshot_every, options.checkpoint_every
    if resume:
        writer, seconds = take_up(output, trainer, config, data.provenance)
        machine = writer.section(ROOT)
        journal = Journal(trainer, machine, *intervals, seconds, data.preprocessing)
        return trainer, writer, journal
    trainer.initialize()
    writer = RunWriter.create(
        output,
        config=config,
        data=data.provenance,
        image_shape=data.image_shape,
        force=force,
    )
    machine = writer.begin(ROOT, snapshot_shape=trainer.model.filters().shape)
    journal = Journal(trainer, machine, *intervals, preprocessing=data.preprocessing)
    return trainer, writer, journal


def _trainer(data: TrainingData, options: TrainOptions, seed: int) -> Trainer:
    from rbmcli.learning.algorithm import Method
    from rbmcli.learning.sparsity import SparsityTarget
    from rbmcli.learning.trainer import Hyperparameters, Trainer
    from rbmcli.learning.update import Regularization
    from rbmcli.model.rbm import Rbm

    model = Rbm.dense(data.image_shape, options.hidden, options.visible_kind, options.hidden_kind)
    sparsity = None
    if options.sparsity_target is not None:
        sparsity = SparsityTarget(
            options.sparsity_target, options.sparsity_cost, options.sparsity_on
        )
    method = Method(
        algorithm=options.algorithm,
        mean_field=options.reconstruction == "mean",
        normalize_hidden=options.normalize_hidden,
        chains=options.chains,
        temperatures=options.temperatures,
        adaptive_ladder=options.adaptive_ladder,
        fast_learning_rate=options.fast_learning_rate,
    )
    hyperparameters = Hyperparameters(
        epochs=options.epochs,
        batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        gibbs_steps=options.gibbs_steps,
        method=method,
        l1=options.l1,
        nesterov=options.nesterov,
        centering=options.centering,
        regularization=Regularization(options.max_norm, options.max_spectral_norm, sparsity),
        patience=options.patience,
    )
    return Trainer(model, data.training, data.validation, hyperparameters, seed)
