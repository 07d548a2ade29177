"""`rbm train`: from a data source to a run file."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from rbmcli.cli.configuration import read_config, read_recipe
from rbmcli.cli.options import Settings, common_options, force_option
from rbmcli.cli.parameters import (
    DurationType,
    FiniteRange,
    IntervalType,
    ScheduleType,
    UnitKindType,
)
from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.learning.algorithms import ALGORITHMS
from rbmcli.learning.schedules import Interval, Schedule
from rbmcli.model.units import KINDS

if TYPE_CHECKING:
    from rbmcli.cli.journal import Journal
    from rbmcli.cli.stopping import Stopping
    from rbmcli.io.sources import Dataset
    from rbmcli.learning.batch import Images
    from rbmcli.learning.trainer import Trainer


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for, resolved. The names are those of the options."""

    hidden: int
    visible_kind: str
    hidden_kind: str
    labels: str | None
    only: tuple[int, ...]
    limit: int | None
    validation: str | None
    binarize: str
    algorithm: str
    gibbs_steps: Schedule
    chains: int | None
    temperatures: int
    adaptive_ladder: bool
    fast_learning_rate: float
    reconstruction: str
    normalize_hidden: bool
    epochs: int
    batch_size: int
    learning_rate: Schedule
    momentum: Schedule
    nesterov: bool
    weight_decay: float
    l1: float
    max_norm: float | None
    sparsity_target: float | None
    sparsity_cost: float
    sparsity_on: str
    centering: bool
    patience: int | None
    snapshot_every: Interval
    checkpoint_every: Interval
    max_time: float | None
    metrics: str | None

    def config(self, seed: int) -> dict[str, Any]:
        """The options as `--config` takes them, with the seed; None is left out."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"seed": seed}
        plain = {
            name.replace("_", "-"): value.text if isinstance(value, Schedule | Interval) else value
            for name, value in values.items()
        }
        plain["only"] = list(self.only)
        return {name: value for name, value in plain.items() if value is not None}


def _training_options(function: Any) -> Any:
    options = [
        click.option(
            "-o",
            "--output",
            type=click.Path(path_type=Path, dir_okay=False),
            required=True,
            help="The run file to write.",
        ),
        click.option(
            "--recipe",
            metavar="NAME",
            is_eager=True,
            expose_value=False,
            callback=read_recipe,
            help="Take options from a recipe that comes with rbm (data/recipes).",
        ),
        click.option(
            "--config",
            type=click.Path(path_type=Path, exists=True, dir_okay=False),
            is_eager=True,
            expose_value=False,
            callback=read_config,
            help="Take options from a TOML file, such as `rbm info --config` prints.",
        ),
        click.option("--hidden", type=click.IntRange(1, 1 << 20), default=100, show_default=True,
                     help="Hidden units; of softmax:N, groups of units."),
        click.option("--visible-kind", type=UnitKindType(), default="bernoulli",
                     show_default=True, metavar="KIND",
                     help=f"Visible units: {', '.join(KINDS)}."),
        click.option("--hidden-kind", type=UnitKindType(), default="bernoulli",
                     show_default=True, metavar="KIND", help="Hidden units, of the same kinds."),
        click.option("--labels", metavar="FILE", help="Labels of the images, for --only."),
        click.option("--only", type=int, multiple=True, metavar="LABEL",
                     help="Keep the images with this label. May be repeated."),
        click.option("--limit", type=click.IntRange(min=1), help="Keep the first so many images."),
        click.option("--validation", metavar="FRACTION|FILE",
                     help="Hold out this fraction of the images, or measure on another source."),
        click.option("--binarize", type=click.Choice(["sample", "threshold", "none"]),
                     default="sample", show_default=True,
                     help="How a value in [0, 1] becomes a state: drawn anew each time it is used,"
                     " cut at one half, or used as it is."),
        click.option("--algorithm", type=click.Choice(list(ALGORITHMS)), default="cd",
                     show_default=True, help="How negative states are made: contrastive"
                     " divergence, persistent chains, these with fast weights, or parallel"
                     " tempering."),
        click.option("-k", "--gibbs-steps", type=ScheduleType(1, 10_000, whole=True), default="1",
                     show_default=True, metavar="SCHEDULE", help="Gibbs steps for each update."),
        click.option("--chains", type=click.IntRange(1, 1 << 20), metavar="N",
                     help="Persistent chains (pcd, fpcd, pt).  [default: the batch size]"),
        click.option("--temperatures", type=click.IntRange(2, 1000), default=10,
                     show_default=True, help="Rungs of the ladder of parallel tempering."),
        click.option("--adaptive-ladder/--fixed-ladder", default=True, show_default=True,
                     help="Move the temperatures until all neighbours swap equally often, or leave"
                     " them evenly spaced."),
        click.option("--fast-learning-rate", type=FiniteRange(min=0, min_open=True), default=0.05,
                     show_default=True, help="Learning rate of the fast weights (fpcd)."),
        click.option("--reconstruction", type=click.Choice(["sample", "mean"]), default="sample",
                     show_default=True,
                     help="Visible reconstructions: drawn, or their means (mean field)."),
        click.option("--normalize-hidden", is_flag=True,
                     help="Divide each image's hidden probabilities by their sum. No gradient of"
                     " anything: to reproduce programs that do so."),
        click.option("--epochs", type=click.IntRange(min=0), default=10, show_default=True,
                     help="Passes over the data."),
        click.option("--batch-size", type=click.IntRange(min=1), default=100, show_default=True,
                     help="Images for each update."),
        click.option("--lr", "--learning-rate", "learning_rate", type=ScheduleType(0),
                     default="0.05", show_default=True, metavar="SCHEDULE",
                     help="Learning rate: 0.1, or 0.1@0,0.01@20 by epoch, or 0.1:0.001, a ramp."),
        click.option("--momentum", type=ScheduleType(0, 1), default="0.5@0,0.9@5",
                     show_default=True, metavar="SCHEDULE", help="Momentum."),
        click.option("--nesterov", is_flag=True, help="Nesterov's momentum."),
        click.option("--weight-decay", type=FiniteRange(min=0), default=1e-4,
                     show_default=True, help="L2 penalty on the weights."),
        click.option("--l1", type=FiniteRange(min=0), default=0.0, show_default=True,
                     help="L1 penalty on the weights."),
        click.option("--max-norm", type=FiniteRange(min=0, min_open=True), metavar="NORM",
                     help="Most that the norm of a hidden unit's weights may be."),
        click.option("--sparsity-target", type=FiniteRange(min=0, min_open=True),
                     metavar="ACTIVITY", help="Pull hidden units towards this mean activity."),
        click.option("--sparsity-cost", type=FiniteRange(min=0), default=0.1, show_default=True,
                     help="How hard."),
        click.option("--sparsity-on", type=click.Choice(["bias", "both"]), default="bias",
                     show_default=True, help="By their biases, or by biases and weights."),
        click.option("--centering/--no-centering", default=True, show_default=True,
                     help="Learn along the gradient of states counted from their means."),
        click.option("--patience", type=click.IntRange(min=1), metavar="EPOCHS",
                     help="Stop when the free-energy gap to the validation images has not reached"
                     " a new low for so many epochs."),
        click.option("--snapshot-every", type=IntervalType(), default="1epochs",
                     show_default=True, metavar="INTERVAL",
                     help="When filters are kept: 1epochs, 100steps."),
        click.option("--checkpoint-every", type=IntervalType(), default="1epochs",
                     show_default=True, metavar="INTERVAL", help="When a checkpoint is written."),
        click.option("--max-time", type=DurationType(), metavar="DURATION",
                     help="Write a checkpoint and stop with status 75 after 90s, 30m or 8h."),
        click.option("--metrics", metavar="FILE",
                     help="Append each epoch's metrics as a line of JSON; '-' for stdout."),
        click.option("--resume", is_flag=True,
                     help="Go on with the run in the output file; start afresh if there is none."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@click.argument("source", default="digits")
@_training_options
@force_option
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
    """
    from rbmcli import _kernels
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
    if options.patience is not None and options.validation is None:
        raise click.UsageError("--patience needs --validation")
    _kernels.set_threads(settings.threads or default_threads())

    with Stopping(options.max_time) as stopping:
        trainer, journal = _open(source, output, options, settings, resume=resume, force=force)
        with journal:
            try:
                reason = _train(trainer, journal, options, settings, stopping)
            except Diverged as error:
                raise RbmError(f"{output}: {error} (the last good checkpoint is kept)") from None
            journal.close(finished=reason is None)
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
    with progress, MetricsLog(options.metrics) as log:
        for event in trainer.run():
            journal.note(event)
            if isinstance(event, EpochDone):
                progress.epoch(event.epoch, event.metrics["reconstruction_error"])
                log.write(event.metrics)
            else:
                progress.step(event.step, event.images)
            if stopping.reason is not None and not trainer.finished:
                journal.checkpoint()
                return stopping.reason
    return None


def _open(
    source: str,
    output: Path,
    options: TrainOptions,
    settings: Settings,
    *,
    resume: bool,
    force: bool,
) -> tuple[Trainer, Journal]:
    """A trainer on the data, new or where the run file left it, and the run's journal."""
    from rbmcli.cli.journal import Journal
    from rbmcli.cli.resuming import take_up
    from rbmcli.io.runwriter import RunWriter, check_new

    if not resume:
        check_new(output, force)  # before data are fetched and read
    dataset, training, validation, provenance = _data(source, options, settings)
    trainer = _trainer(dataset, training, validation, options, settings.seed)
    config = options.config(settings.seed)
    intervals = options.snapshot_every, options.checkpoint_every
    if resume:
        writer, seconds = take_up(output, trainer, config, provenance)
        return trainer, Journal(trainer, writer, *intervals, seconds)
    trainer.initialize()
    writer = RunWriter.create(
        output,
        config=config,
        data=provenance,
        image_shape=dataset.image_shape,
        snapshot_shape=trainer.model.filters().shape,
        force=force,
    )
    return trainer, Journal(trainer, writer, *intervals)


def _data(
    source: str, options: TrainOptions, settings: Settings
) -> tuple[Dataset, Images, Images | None, dict[str, Any]]:
    """The data set, its training and validation images, and what the run file says of them."""
    from rbmcli.io.batches import split
    from rbmcli.io.sources import open_source
    from rbmcli.learning.batch import Images
    from rbmcli.model.units import unit_kind

    kind = unit_kind(options.visible_kind)

    def images(dataset: Dataset, rows: NDArray[np.int64]) -> Images:
        result = Images(dataset.images, dataset.scale, rows, options.binarize)
        return result.for_kind(kind, dataset.source)

    dataset = open_source(source, labels=options.labels, only=options.only, limit=options.limit)
    notices = list(dataset.notices)
    provenance: dict[str, Any] = dict(dataset.provenance())
    rows = np.arange(len(dataset.images))
    validation = None
    if options.validation is not None:
        fraction = _fraction(options.validation)
        if fraction is not None:
            rows, held_out = split(len(rows), fraction, Draws(settings.seed))
            if not len(rows) or not len(held_out):
                raise RbmError(
                    f"--validation {options.validation}: {len(dataset.images)} images leave none"
                    " to train on or none to measure; choose another fraction"
                )
            provenance["validation"] = {"fraction": fraction}
            validation = images(dataset, held_out)
        else:
            other = open_source(options.validation, only=(), limit=None)
            if other.image_shape != dataset.image_shape:
                raise RbmError(
                    f"{options.validation}: images of shape {other.image_shape}, but those of"
                    f" {source} are {dataset.image_shape}"
                )
            notices += other.notices
            provenance["validation"] = other.provenance()
            validation = images(other, np.arange(len(other.images)))
    if not settings.quiet:
        for notice in notices:
            click.echo(f"note: {notice}", err=True)
    return dataset, images(dataset, rows), validation, provenance


def _fraction(text: str) -> float | None:
    """The text as a fraction, or None if it names a source."""
    try:
        fraction = float(text)
    except ValueError:
        return None
    if not 0 < fraction < 1:
        raise click.BadParameter(f"{text} is not between 0 and 1", param_hint="'--validation'")
    return fraction


def _trainer(
    dataset: Dataset,
    training: Images,
    validation: Images | None,
    options: TrainOptions,
    seed: int,
) -> Trainer:
    from rbmcli.learning.algorithm import Method
    from rbmcli.learning.sparsity import SparsityTarget
    from rbmcli.learning.trainer import Hyperparameters, Trainer
    from rbmcli.learning.update import Regularization
    from rbmcli.model.rbm import Rbm

    model = Rbm.dense(
        dataset.image_shape, options.hidden, options.visible_kind, options.hidden_kind
    )
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
        regularization=Regularization(options.max_norm, sparsity),
        patience=options.patience,
    )
    return Trainer(model, training, validation, hyperparameters, seed)
