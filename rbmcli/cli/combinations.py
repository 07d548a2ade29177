"""Options of `rbm train` that say nothing together, refused before anything is read."""

from __future__ import annotations

from collections.abc import Callable

import click
from click.core import ParameterSource

from rbmcli.cli.training_options import TrainOptions
from rbmcli.model.units import unit_kind

#: (option, parameter, what it needs, whether the options have that). An option counts only where it
#: was typed: files of options hold all of them.
_NEEDS: list[tuple[str, str, str, Callable[[TrainOptions], bool]]] = [
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
        "visible units of kind bernoulli or binomial:N",
        lambda o: unit_kind(o.visible_kind).is_drawn_from_data,
    ),
]


def check_combinations(ctx: click.Context, options: TrainOptions) -> None:
    """UsageError for the first wrong combination."""
    for option, parameter, needed, has in _NEEDS:
        typed = ctx.get_parameter_source(parameter) is ParameterSource.COMMANDLINE
        if typed and not has(options):
            raise click.UsageError(f"{option} needs {needed}")
    if options.normalize_hidden and (options.algorithm, options.hidden_kind) != ("cd", "bernoulli"):
        raise click.UsageError("--normalize-hidden needs --algorithm cd and bernoulli hidden units")
    most = unit_kind(options.hidden_kind).valid_range[1]
    if options.sparsity_target is not None and options.sparsity_target >= most:
        raise click.UsageError(
            f"--sparsity-target {options.sparsity_target:g}: the mean activity of"
            f" {options.hidden_kind} hidden units stays below {most:g}"
        )
    if options.reconstruction == "mean" and options.algorithm == "pt":
        raise click.UsageError(
            "--reconstruction mean: parallel tempering swaps drawn states, so it needs sample"
        )
