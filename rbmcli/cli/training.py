"""Training one machine as the options say, to its end or until there is a reason to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rbmcli.cli.journal import Journal, gathering
from rbmcli.cli.metrics_log import MetricsLog
from rbmcli.cli.options import Settings
from rbmcli.cli.progress import TrainingProgress
from rbmcli.cli.saying import say
from rbmcli.cli.stopping import STOPPED, Stopping
from rbmcli.cli.training_options import TrainOptions
from rbmcli.errors import RbmError
from rbmcli.io.runwriter import RunWriter
from rbmcli.learning.algorithm import Method
from rbmcli.learning.inputs import Inputs
from rbmcli.learning.loop import Diverged, EpochDone, Loop
from rbmcli.learning.sparsity import SparsityTarget
from rbmcli.learning.trainer import Hyperparameters, Trainer
from rbmcli.learning.update import Regularization
from rbmcli.model.rbm import Rbm

#: What is said of pairs of layers without upper bounds, once their weights are large.
_NO_DENSITY = (
    "the spectral norm of the weights is 1 or more, where two layers of gaussian or nrelu units may"
    " have no density; --max-spectral-norm 0.7, or less, keeps it below, or a smaller --max-norm of"
    " filters that move over images"
)


def new_machine(
    options: TrainOptions, shape: tuple[int, ...], labels: int = 0, *, planar: bool = True
) -> Rbm:
    """The machine that the options ask for, on visible units of this shape.

    planar: of a convolution, as `Rbm.convolutional` has it. RbmError where sizes do not fit.
    """
    kinds = options.visible_kind, options.hidden_kind
    if options.conv is None:
        assert options.hidden is not None
        return Rbm.dense(shape, options.hidden, *kinds, labels)
    return Rbm.convolutional(shape, options.conv.shape, options.pool, *kinds, planar=planar)


def new_trainer(
    model: Rbm,
    training: Inputs,
    validation: Inputs | None,
    options: TrainOptions,
    seed: int,
    layer: int = 0,
    label_weight: int = 0,
) -> Trainer:
    """A trainer of a machine, the layer of that number in a stack."""
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
        label_weight=label_weight,
        hidden_bias=options.hidden_bias,
    )
    return Trainer(model, training, validation, hyperparameters, seed, layer)


@dataclass(frozen=True)
class Course:
    """What goes on beside training: a reason to stop, progress, the log of metrics."""

    output: Path
    settings: Settings
    stopping: Stopping
    log: MetricsLog

    def conclude(self, writer: RunWriter, work: Callable[[], str | None]) -> int:
        """Do the work that writes a run file, gather it, say how it ended; return the exit status.

        work: returns a reason if it stopped early.
        """
        told = self._tell(writer, 0)
        with gathering(writer), self.log:
            reason = work()
            if reason is None:
                writer.finish()
            else:
                writer.stop()
        self._tell(writer, told)
        if not self.settings.quiet:
            done = f"stopped {reason}; go on with --resume" if reason else "done"
            say(f"{self.output}: {done}")
        return 0 if reason is None else STOPPED

    def _tell(self, writer: RunWriter, told: int) -> int:
        """Show the writer's notices from number `told` on; how many there are."""
        for notice in writer.notices[told:]:
            say(f"note: {notice}")
        return len(writer.notices)

    def train(
        self, trainer: Loop, journal: Journal, epochs: int, part: Mapping[str, Any] | None = None
    ) -> str | None:
        """Train to the end, or until there is a reason to stop; return it, a checkpoint written.

        part: of a stack, which part this is, as in {"layer": 1}; shown, and logged with metrics.
        RbmError where training diverges.
        """
        what = "".join(f"{name} {value}  " for name, value in (part or {}).items())
        quiet = self.settings.quiet
        progress = TrainingProgress(epochs, trainer.steps_per_epoch, trainer.step, quiet, what)
        warned = quiet
        self.log.begin(part or {}, trainer.metrics)
        self._keep(journal, what)
        try:
            with progress:
                for event in trainer.run(journal.free):
                    journal.note(event)
                    self._keep(journal, what)
                    if isinstance(event, EpochDone):
                        if not warned and event.metrics.get("spectral_norm", 0.0) >= 1:
                            warned = True
                            say(f"note: {what}epoch {event.epoch}: {_NO_DENSITY}")
                        progress.epoch(event.epoch, event.metrics["reconstruction_error"])
                        self.log.write({**(part or {}), **event.metrics})
                    else:
                        progress.step(event.step, event.images)
                    if self.stopping.reason is not None and not trainer.finished:
                        break
        except Diverged as error:
            raise RbmError(
                f"{self.output}: {what}{error} (the last good checkpoint is kept)"
            ) from None
        journal.checkpoint()
        return None if trainer.finished else self.stopping.reason

    def _keep(self, journal: Journal, what: str) -> None:
        """Keep in mind which checkpoint there is, for who quits in haste."""
        if journal.kept is not None:
            self.stopping.checkpointed(f"{what}epoch {journal.kept:.4g}")
