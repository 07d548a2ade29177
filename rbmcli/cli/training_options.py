"""What training can be asked for: the options of `rbm train`, and these resolved."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import click

from rbmcli.cli.configuration import read_config, read_recipe
from rbmcli.cli.options import channels_option, follow_links_option, force_option, output_option
from rbmcli.cli.parameters import (
    DurationType,
    FiltersType,
    FiniteRange,
    IntervalType,
    PatchesType,
    ScheduleType,
    SizeType,
    StepsType,
    UnitKindType,
)
from rbmcli.io.sizes import Filters, Patches, Size
from rbmcli.learning.algorithms import ALGORITHMS
from rbmcli.learning.schedules import Interval, Schedule
from rbmcli.model.units import BINARIZE, KINDS, pooled

#: What `--pool` is where it is not given.
POOL = 2

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class TrainOptions:
    """What the user asked for, resolved. The names are those of the options."""

    hidden: int | None
    conv: Filters | None
    pool: int
    visible_kind: str
    hidden_kind: str
    labels: str | None
    only: tuple[int, ...]
    limit: int | None
    channels: str | None
    follow_links: bool
    validation: str | None
    binarize: str
    preprocess: str | None
    whiten: bool
    patches: Patches | None
    pad: int | None
    crop: Size | None
    crops_per_image: int | None
    flip: bool
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
    hidden_bias: float
    momentum: Schedule
    nesterov: bool
    weight_decay: float
    l1: float
    max_norm: float | None
    max_spectral_norm: float | None
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
        """The options as `--config` takes them, with the seed; None is left out.

        Where metrics are logged is none of them: who goes on with a run file from elsewhere would
        write to what it names.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"seed": seed}
        del values["metrics"]
        plain = {
            name.replace("_", "-"): getattr(value, "text", value) for name, value in values.items()
        }
        plain["only"] = list(self.only)
        del plain["follow-links"]  # whom to trust is said each time
        del plain["channels"]  # how they were is known once the data are read
        if self.conv is not None:
            del plain["hidden"]
        elif self.pool == POOL:
            del plain["pool"]
        if not self.hidden_bias:
            del plain["hidden-bias"]
        return {name: value for name, value in plain.items() if value is not None}


#: Options by what they are about, as --help lists them.
Groups = Mapping[str, Sequence[Callable[[Any], Any]]]

_LEARNING = "Learning (a SCHEDULE is 0.1, or 0.1@0,0.01@20 by epoch, or 0.1:0.001, a ramp)"

TRAINING: Groups = {
    "Files": [
        output_option("The run file to write."),
        click.option("--resume", is_flag=True,
                     help="Go on with the run in the output file; start afresh if there is none."),
        force_option,
        click.option("--recipe", metavar="NAME", is_eager=True, expose_value=False,
                     callback=read_recipe,
                     help="Take options from a recipe that comes with rbm, such as seven."),
        click.option("--config", type=click.Path(path_type=Path),
                     is_eager=True, expose_value=False, callback=read_config,
                     help="Take options from a TOML file, such as `rbm info --config` prints."),
        click.option("--metrics", metavar="FILE",
                     help="Append each epoch's metrics as a line of JSON; '-' for stdout."),
    ],
    "Machine": [
        click.option("--hidden", type=click.IntRange(1, 1 << 20), default=100, show_default=True,
                     metavar="N", help="Hidden units; of kind softmax:N, groups of units."),
        click.option("--conv", type=FiltersType(), metavar="KxHxW",
                     help="Instead, K filters of H rows and W columns that move over the image: a"
                     " hidden unit for each place of each filter."),
        click.option("--pool", type=click.IntRange(1, pooled.MOST), default=POOL, show_default=True,
                     metavar="C", help="With --conv, pool the hidden units in blocks of C x C, of"
                     " which at most one is on; 1 leaves them as they are."),
        click.option("--visible-kind", type=UnitKindType(), default="bernoulli",
                     show_default=True, metavar="KIND",
                     help=f"Kind of the visible units: {', '.join(KINDS)}."),
        click.option("--hidden-kind", type=UnitKindType(), default="bernoulli",
                     show_default=True, metavar="KIND",
                     help="Kind of the hidden units, one of the same."),
    ],
    "Data": [
        click.option("--labels", metavar="FILE",
                     help="Labels of the images.  [default: those beside them, if any]"),
        click.option("--only", type=int, multiple=True, metavar="LABEL",
                     help="Keep the images with this label. May be repeated."),
        click.option("--limit", type=click.IntRange(min=1), metavar="N",
                     help="Keep the first so many images."),
        channels_option,
        follow_links_option,
        click.option("--validation", metavar="FRACTION|FILE",
                     help="Hold out this fraction of the images, or measure on another source."),
        click.option("--whiten", is_flag=True,
                     help="Flatten the spectrum of whole images, which of photographs falls as"
                     " 1/f, before anything is cut from them; each has mean 0 and deviation 1 then."
                     " For gaussian visible units."),
        click.option("--patches", type=PatchesType(), metavar="N:HxW",
                     help="Learn N patches of this height and width, cut at random places from the"
                     " images; a folder's pictures may then be of different sizes."),
        click.option("--pad", type=click.IntRange(1, 1000), metavar="N",
                     help="Add N blank rows and columns on each side of the images."),
        click.option("--crop", type=SizeType(), metavar="HxW",
                     help="Crop an image at a random place each time it is trained on; its central"
                     " crop is what is measured. A folder's pictures may then be of different"
                     " sizes."),
        click.option("--crops-per-image", type=click.IntRange(1, 1 << 20), metavar="N",
                     help="Crops of each image in an epoch. With several, what is measured are as"
                     " many that stay the same, not the central one.  [default: 1]"),
        click.option("--flip", is_flag=True,
                     help="Flip an image left to right, or not, each time it is trained on."),
        click.option("--preprocess", type=StepsType(), metavar="STEPS",
                     help="Steps, in order, with commas: standardize (each pixel by its mean and"
                     " deviation over the images), contrast (each image by its own), zca"
                     " (whitening). For gaussian visible units."),
        click.option("--binarize", type=click.Choice(BINARIZE),
                     default="sample", show_default=True,
                     help="How a value from 0 to 1 becomes the state of a bernoulli or binomial"
                     " unit: drawn anew each time it is used, cut at one half (rounded to a count),"
                     " or used as it is."),
    ],
    "Algorithm": [
        click.option("--algorithm", type=click.Choice(list(ALGORITHMS)), default="cd",
                     show_default=True, help="Where the model's side of the gradient comes from:"
                     " chains from the data (contrastive divergence), persistent chains, these with"
                     " fast weights, or parallel tempering."),
        click.option("-k", "--gibbs-steps", type=ScheduleType(1, 10_000, whole=True), default="1",
                     show_default=True, metavar="SCHEDULE", help="Gibbs steps for each update."),
        click.option("--chains", type=click.IntRange(1, 1 << 20), metavar="N",
                     help="Chains of pcd, fpcd and pt.  [default: the batch size]"),
        click.option("--fast-learning-rate", type=FiniteRange(min=0, min_open=True), default=0.05,
                     show_default=True, metavar="RATE",
                     help="Learning rate of the fast weights of fpcd."),
        click.option("--temperatures", type=click.IntRange(2, 1000), default=10, metavar="N",
                     show_default=True, help="Temperatures of pt, the machine's own among them."),
        click.option("--adaptive-ladder/--fixed-ladder", default=True, show_default=True,
                     help="Move the temperatures of pt until all neighbours swap equally often, or"
                     " leave them evenly spaced."),
        click.option("--reconstruction", type=click.Choice(["sample", "mean"]), default="sample",
                     show_default=True,
                     help="Visible states of the chains: drawn, or their means (mean field)."),
        click.option("--normalize-hidden", is_flag=True,
                     help="Divide each image's hidden probabilities by their sum. No gradient of"
                     " anything: to reproduce programs that do so."),
    ],
    _LEARNING: [
        click.option("--epochs", type=click.IntRange(min=0), default=10, show_default=True,
                     metavar="N", help="Passes over the data."),
        click.option("--batch-size", type=click.IntRange(min=1), default=100, show_default=True,
                     metavar="N", help="Images for each update."),
        click.option("--lr", "--learning-rate", "learning_rate", type=ScheduleType(0),
                     default="0.05", show_default=True, metavar="SCHEDULE",
                     help="Learning rate. With gaussian or nrelu units, begin with 0.001."),
        click.option("--hidden-bias", type=FiniteRange(-1e6, 1e6), default=0.0, show_default=True,
                     metavar="BIAS", help="Where hidden biases start. Where many filters move over"
                     " an image it may help to begin with few units on, such as -5."),
        click.option("--momentum", type=ScheduleType(0, 1), default="0.5@0,0.9@5",
                     show_default=True, metavar="SCHEDULE",
                     help="What is kept of the last step in the next one."),
        click.option("--nesterov", is_flag=True, help="Momentum in Nesterov's form."),
        click.option("--centering/--no-centering", default=True, show_default=True,
                     help="Learn along the gradient of states counted from their means."),
        click.option("--patience", type=click.IntRange(min=1), metavar="EPOCHS",
                     help="Stop when the free-energy gap to the validation images has not reached"
                     " a new low for so many epochs."),
    ],
    "Regularisation": [
        click.option("--weight-decay", type=FiniteRange(min=0), default=1e-4, metavar="COST",
                     show_default=True, help="L2 penalty on the weights."),
        click.option("--l1", type=FiniteRange(min=0), default=0.0, show_default=True,
                     metavar="COST", help="L1 penalty on the weights."),
        click.option("--max-norm", type=FiniteRange(min=0, min_open=True), metavar="NORM",
                     help="Bound on the norm of each hidden unit's weights."),
        click.option("--max-spectral-norm", type=FiniteRange(min=0, min_open=True),
                     metavar="NORM", help="Shrink singular values of the weights above this, a few"
                     " directions each update: the largest stays within some 20% of it. Below 1,"
                     " two layers of gaussian or nrelu units have a density."),
        click.option("--sparsity-target", type=FiniteRange(min=0, min_open=True),
                     metavar="ACTIVITY", help="Pull hidden units towards this mean activity."),
        click.option("--sparsity-cost", type=FiniteRange(min=0), default=0.1, metavar="COST",
                     show_default=True, help="How hard they are pulled."),
        click.option("--sparsity-on", type=click.Choice(["bias", "both"]), default="bias",
                     show_default=True, help="What pulls them: biases, or biases and weights."),
    ],
    "Course of the run": [
        click.option("--snapshot-every", type=IntervalType(), default="1epochs",
                     show_default=True, metavar="INTERVAL",
                     help="When filters are kept: 1epochs, 100steps."),
        click.option("--checkpoint-every", type=IntervalType(auto=True), default="auto",
                     show_default=True, metavar="INTERVAL",
                     help="When a checkpoint is written: 1epochs, 100steps. auto: after an epoch,"
                     " but in no more than a fiftieth of the time, and within an epoch every 10"
                     " minutes."),
        click.option("--max-time", type=DurationType(), metavar="DURATION",
                     help="Write a checkpoint and stop with status 75 after 90s, 30m or 8h."),
    ],
}  # fmt: skip


#: What is the same for all layers of a stack, by the names of parameters.
_OF_THE_RUN = {
    "labels", "only", "limit", "channels", "follow_links", "validation", "binarize", "preprocess",
    "whiten", "patches", "pad", "crop", "crops_per_image", "flip", "max_time", "metrics",
}  # fmt: skip
#: What may differ from layer to layer.
LAYER_OPTIONS = {field.name for field in fields(TrainOptions)} - _OF_THE_RUN


def grouped_options(groups: Groups) -> Callable[[F], F]:
    """Add all options of some groups; the command receives their values by name."""

    def add(function: F) -> F:
        for option in reversed([option for group in groups.values() for option in group]):
            function = option(function)
        return function

    return add


class GroupedCommand(click.Command):
    """A command with such options, whose help lists them by what they are about."""

    def __init__(self, *arguments: Any, groups: Groups, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._groups = groups

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each group under its heading, what remains under the last."""
        options = iter([x for x in self.get_params(ctx) if isinstance(x, click.Option)])
        headings = [*((name, len(group)) for name, group in self._groups.items()), ("Other", None)]
        for heading, count in headings:
            records = [option.get_help_record(ctx) for option in islice(options, count)]
            with formatter.section(heading):
                formatter.write_dl([record for record in records if record is not None])
