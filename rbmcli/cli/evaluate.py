"""`rbm evaluate`: how good a trained machine is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rbmcli.cli.options import Settings, common_options, json_option

if TYPE_CHECKING:
    from rbmcli.draws import Draws
    from rbmcli.inference.evaluation import Measurements
    from rbmcli.learning.batch import Images
    from rbmcli.model.rbm import Rbm
    from rbmcli.model.states import States

#: Images measured together.
_BLOCK = 1000

# The defaults of rbmcli.inference, which this file must not import for `rbm evaluate --help`.
_AIS_CHAINS, _TEMPERATURES = 100, 14_500
_RAISE_IMAGES, _RAISE_CHAINS = 500, 1


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--exact/--estimated", default=None,
              help="Sum over every state of a layer to get log Z, or fail; or estimate it by AIS."
              "  [default: exact where there are at most 2^25 states]")  # fmt: skip
@click.option("--ais-chains", type=click.IntRange(min=2), default=_AIS_CHAINS, show_default=True,
              help="Chains of annealed importance sampling.")  # fmt: skip
@click.option("--ais-temperatures", type=click.IntRange(min=2), default=_TEMPERATURES,
              show_default=True,
              help="Inverse temperatures of AIS and RAISE, from 0 to 1.")  # fmt: skip
@click.option("--raise-images", type=click.IntRange(min=0), default=_RAISE_IMAGES,
              show_default=True, help="Images, evenly spread over SOURCE, whose likelihood is"
              " estimated from below by RAISE; 0: none.")  # fmt: skip
@click.option("--raise-chains", type=click.IntRange(min=1), default=_RAISE_CHAINS,
              show_default=True, help="Chains of RAISE for each image.")  # fmt: skip
@click.option("--binarize", type=click.Choice(["sample", "threshold", "none"]),
              help="How values become states.  [default: as in the run]")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), help="Keep the first so many images.")
@json_option
@common_options
def command(
    run_file: Path,
    source: str,
    exact: bool | None,
    ais_chains: int,
    ais_temperatures: int,
    raise_images: int,
    raise_chains: int,
    binarize: str | None,
    limit: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Measure how well the machine in RUN.h5 describes the images of SOURCE.

    All numbers are means over the images, in nats but for the reconstruction error. Where log Z
    cannot be had exactly it is estimated by AIS, which flatters the machine if its chains mix
    badly; RAISE errs to the other side. The truth is likely between.

    \b
    Examples:
      rbm evaluate run.h5 mnist:test
      rbm evaluate run.h5 mnist:test --limit 1000 --raise-images 100 --json
    """
    import numpy as np

    from rbmcli import _kernels
    from rbmcli.cli.datasets import as_seen
    from rbmcli.cli.models import load_model
    from rbmcli.cli.threads import default_threads
    from rbmcli.draws import Draws
    from rbmcli.inference import exact as enumeration
    from rbmcli.inference import reverse_ais
    from rbmcli.inference.ais import log_partition
    from rbmcli.inference.annealing import Path as Annealing
    from rbmcli.inference.annealing import ladder
    from rbmcli.inference.evaluation import measure
    from rbmcli.inference.likelihood import (
        annealed,
        exactly,
        mean_log_likelihood,
        spread_rows,
        with_conservative,
    )
    from rbmcli.io.runfile import RunReader

    _kernels.set_threads(settings.threads or default_threads())
    with RunReader(run_file) as run:
        model = load_model(run)
        if exact:
            enumeration.check_exact(model)
        how = binarize or run.config["binarize"]
        images = as_seen(
            run, source, model.visible, np.arange, how, quiet=settings.quiet, limit=limit
        )
    draws = Draws(settings.seed)
    chosen = spread_rows(len(images.rows), raise_images)
    with _told(settings, "images") as tell:
        measured = measure(model, _blocks(images, model, draws, tell), draws, chosen)

    partition = likelihood = None
    if (reason := _no_likelihood(model, measured)) is not None:
        click.echo(f"no likelihood: {reason}", err=True)
    elif exact or (exact is None and enumeration.is_exact(model)):
        with _told(settings, "log Z") as tell:
            partition = exactly(enumeration.log_partition(model, tell))
        likelihood = mean_log_likelihood(measured.free_energies, partition)
    else:
        path, betas = Annealing(model, measured.mean), ladder(ais_temperatures)
        with _told(settings, "AIS") as tell:
            estimate = log_partition(path, betas, ais_chains, draws, tell)
        partition = annealed(estimate, ais_chains, ais_temperatures)
        likelihood = mean_log_likelihood(measured.free_energies, partition)
        if len(chosen):
            visible = model.visible.states_of(measured.kept)
            with _told(settings, "RAISE") as tell:
                estimates = reverse_ais.log_likelihood(
                    path, betas, visible, raise_chains, draws, tell
                )
            likelihood = with_conservative(likelihood, measured.free_energies, chosen, estimates)

    facts = {
        "images": len(images.rows),
        "kinds": {"visible": model.visible.kind.name, "hidden": model.hidden.kind.name},
        "binarize": images.binarize,
        "binarized": _how_binarized(model, images.binarize, settings.seed),
        "seed": settings.seed,
        "reconstruction_error": measured.reconstruction_error,
        "pseudo_log_likelihood": measured.pseudo_log_likelihood,
        "free_energy": float(measured.free_energies.mean()),
        "log_partition": None if partition is None else partition._asdict(),
        "log_likelihood": None if likelihood is None else likelihood._asdict(),
    }
    if as_json:
        click.echo(json.dumps(_finite(facts), indent=2))
    else:
        click.echo("\n".join(_lines(facts)))


def _blocks(
    images: Images, model: Rbm, draws: Draws, tell: Callable[[float], None]
) -> Iterator[States]:
    """Every image as a visible state, drawn once, in blocks."""
    from rbmcli.draws import Purpose

    for start in range(0, len(images.rows), _BLOCK):
        rows = images.rows[start : start + _BLOCK]
        yield images.states(rows, model.visible, draws.at(Purpose.BINARIZE, 0, 0, start))
        tell((start + len(rows)) / len(images.rows))


@contextmanager
def _told(settings: Settings, what: str) -> Iterator[Callable[[float], None]]:
    """Show the progress of a part of the work, told as the fraction done."""
    from rbmcli.cli.progress import Progress

    with Progress(100, settings.quiet) as progress:
        yield partial(progress.part, what)


def _no_likelihood(model: Rbm, measured: Measurements) -> str | None:
    """Why there is no likelihood, or None where there is one."""
    from rbmcli.model.density import has_density, spectral_norm

    visible, hidden = model.visible.kind.name, model.hidden.kind.name
    if not measured.are_states:
        return (
            f"the data are no states of {visible} units, as real values are not;"
            " --binarize sample or threshold makes states of them where units allow it"
        )
    if not has_density(model):
        return (
            f"{visible} and {hidden} units have a density for sure only while the spectral norm of"
            f" the weights is below 1, and it is {spectral_norm(model.link.weights):.4g}; train"
            " with --max-spectral-norm 0.7"
        )
    return None


def _how_binarized(model: Rbm, binarize: str, seed: int) -> str:
    """How the data became states, in words."""
    if binarize == "sample":
        return f"each value drawn once, seed {seed}"
    if binarize == "threshold":
        return "rounded" if model.visible.kind.name.startswith("binomial") else "cut at 0.5"
    return "taken as they are"


def _finite(value: Any) -> Any:
    """The same, with None for NaN and infinity, for which JSON has no words."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(facts: dict[str, Any]) -> Iterator[str]:
    """The facts for a reader."""
    yield f"images                 {facts['images']}, {facts['binarized']}"
    yield f"kinds                  {' over '.join(reversed(facts['kinds'].values()))}"
    for name in ("reconstruction_error", "pseudo_log_likelihood", "free_energy"):
        value = facts[name]
        yield f"{name:<22} {'-' if value is None else f'{value:.2f}'}"
    partition, likelihood = facts["log_partition"], facts["log_likelihood"]
    if partition is None:
        yield "log_partition          -"
        yield "log_likelihood         -"
        return
    if partition["method"] == "exact":
        yield f"log_partition          {partition['value']:.2f}, exact"
        yield f"log_likelihood         {likelihood['value']:.2f}"
        return
    yield (
        f"log_partition          {_interval(partition)}, AIS, {partition['chains']} chains,"
        f" {partition['temperatures']} temperatures"
    )
    yield f"log_likelihood         {_interval(likelihood)}"
    if count := likelihood["conservative_images"]:
        error = likelihood["conservative_error"]  # of one image there is none
        spread = "" if math.isnan(error) else f" +- {error:.2f}"
        yield (
            f"  conservative         {likelihood['conservative']:.2f}{spread}, RAISE, from"
            f" {count} image{'s' * (count > 1)}"
        )


def _interval(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"
