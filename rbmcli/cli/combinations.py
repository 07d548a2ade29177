"""Options of `rbm train` that say nothing together, refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import click
from click.core import ParameterSource

from rbmcli.cli.training_options import TrainOptions
from rbmcli.model.units import BINARIZED, unit_kind

#: (option, parameter, what it needs, whether the options have that). An option counts only where it
#: was typed: files of options hold all of them.
_NEEDS: list[tuple[str, str, str, Callable[[TrainOptions], bool]]] = [
    (
        "--hidden",
        "hidden",
        "a machine without --conv, which itself says how many hidden units there are",
        lambda o: o.conv is None,
    ),
    ("--pool", "pool", "--conv", lambda o: o.conv is not None),
    ("--crops-per-image", "crops_per_image", "--crop", lambda o: o.crop is not None),
    ("--patience", "patience", "--validation", lambda o: o.validation is not None),
    ("--chains", "chains", "--algorithm pcd, fpcd or pt", lambda o: o.algorithm != "cd"),
    ("--temperatures", "temperatures", "--algorithm pt", lambda o: o.algorithm == "pt"),
    (
        "--adaptive-ladder/--fixed-ladder",
        "adaptive_ladder",
        "--algorithm pt",
        lambda o: o.algorithm == "pt",
    ),
    (
        "--fast-learning-rate",
        "fast_learning_rate",
        "--algorithm fpcd",
        lambda o: o.algorithm == "fpcd",
    ),
    (
        "--sparsity-cost",
        "sparsity_cost",
        "--sparsity-target",
        lambda o: o.sparsity_target is not None,
    ),
    ("--sparsity-on", "sparsity_on", "--sparsity-target", lambda o: o.sparsity_target is not None),
    (
        "--binarize",
        "binarize",
        f"visible units of kind {' or '.join(BINARIZED)}",
        lambda o: unit_kind(o.visible_kind).is_drawn_from_data,
    ),
]


def check_typed(typed: Callable[[str], bool], layers: Sequence[TrainOptions]) -> None:
    """UsageError for an option that was typed and that none of the layers can use.

    typed: whether a parameter was, by its name.
    """
    for option, parameter, needed, has in _NEEDS:
        if typed(parameter) and not any(map(has, layers)):
            raise click.UsageError(f"{option} needs {needed}")


def check_values(options: TrainOptions) -> None:
    """UsageError for the first wrong combination of values."""
    if options.normalize_hidden and (options.algorithm, options.hidden_kind) != ("cd", "bernoulli"):
        raise click.UsageError("--normalize-hidden needs --algorithm cd and bernoulli hidden units")
    if options.conv is not None:
        _check_convolution(options)
    most = unit_kind(options.hidden_kind).valid_range[1]
    if options.conv is not None:
        most /= options.pool**2
    if options.sparsity_target is not None and options.sparsity_target >= most:
        raise click.UsageError(
            f"--sparsity-target {options.sparsity_target:g}: the mean activity of"
            f" {'pooled ' if options.conv and options.pool > 1 else ''}{options.hidden_kind} hidden"
            f" units stays below {most:g}"
        )
    if options.reconstruction == "mean" and options.algorithm == "pt":
        raise click.UsageError(
            "--reconstruction mean: parallel tempering swaps drawn states, so it needs sample"
        )


def _check_convolution(options: TrainOptions) -> None:
    """UsageError for what cannot be had together with --conv."""
    for option, kind in (
        ("--visible-kind", options.visible_kind),
        ("--hidden-kind", options.hidden_kind),
    ):
        if unit_kind(kind).group > 1:
            raise click.UsageError(
                f"--conv: {kind} units have no rows and columns; choose another {option}"
            )
    if options.pool > 1 and options.hidden_kind != "bernoulli":
        raise click.UsageError(
            f"--pool {options.pool}: {options.hidden_kind} hidden units cannot be pooled; use"
            " bernoulli ones, or --pool 1"
        )
    if options.max_spectral_norm is not None:
        raise click.UsageError(
            "--conv: --max-spectral-norm is for machines without; use --max-norm or --weight-decay"
        )
    if options.normalize_hidden:
        raise click.UsageError("--conv: --normalize-hidden is for machines without")


def check_combinations(ctx: click.Context, options: TrainOptions) -> None:
    """UsageError for the first wrong combination in the options of one machine."""
    check_typed(lambda name: on_command_line(ctx, name), [options])
    check_values(options)


def on_command_line(ctx: click.Context, parameter: str) -> bool:
    """Whether an option was typed, rather than found in a file of options."""
    return ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
