"""What `rbm evaluate` prints: its facts as JSON, or as lines for a reader."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from rbmcli.cli.saying import printable
from rbmcli.model.units import UnitKind


def how_binarized(kind: UnitKind, binarize: str, seed: int) -> str:
    """How the data became states, in words."""
    if binarize == "sample":
        return f"each value drawn once, seed {seed}"
    if binarize == "threshold":
        return kind.when_cut
    return "taken as they are"


def lines(facts: dict[str, Any]) -> Iterator[str]:
    """The facts for a reader."""
    yield f"images                 {facts['images']}, {printable(facts['binarized'])}"
    yield f"kinds                  {printable(' over '.join(_layers(facts['kinds'])))}"
    for name in ("reconstruction_error", "pseudo_log_likelihood", "free_energy"):
        value = facts[name]
        yield f"{name:<22} {'-' if value is None else f'{value:.2f}'}"
    yield from _likelihood(facts)
    if "label_error" in facts:
        error = facts["label_error"]
        yield f"label_error            {'-' if error is None else f'{error:.2%}'}"
    if "classifier_error" in facts:
        about = facts["classifier"]
        layers = ", ".join(map(str, about["layers"]))
        yield (
            f"classifier_error       {facts['classifier_error']:.2%}, layer {layers}, C"
            f" {about['inverse_penalty']:g} ({about['held_out_error']:.2%} of images held out),"
            f" from {about['images']} images"
        )


def _layers(kinds: dict[str, Any]) -> list[str]:
    """The kinds from the top down; those of hidden units are a list in a stack."""
    hidden = kinds["hidden"]
    return [*([hidden] if isinstance(hidden, str) else hidden[::-1]), kinds["visible"]]


def _likelihood(facts: dict[str, Any]) -> Iterator[str]:
    partition, likelihood = facts["log_partition"], facts["log_likelihood"]
    bounded = "log_likelihood_bound" in facts
    name = "log_likelihood_bound" if bounded else "log_likelihood"
    if partition is None:
        yield "log_partition          -"
        yield f"{name:<22} -"
        return
    exact = partition["method"] == "exact"
    work = f"AIS, {partition['chains']} chains, {partition['temperatures']} temperatures"
    found = f"{partition['value']:.2f}, exact" if exact else f"{_interval(partition)}, {work}"
    yield f"log_partition          {found}"
    value = facts[name]
    found = f"{value['value']:.2f}" if exact else _interval(value)
    if bounded:
        found += f", standard error{_spread(value['standard_error'], ' ') or ' unknown'}"
    yield f"{name:<22} {found}"
    if not bounded and not exact and (count := likelihood["conservative_images"]):
        yield (
            f"  conservative         {likelihood['conservative']:.2f}"
            f"{_spread(likelihood['conservative_error'], ' +- ')}, RAISE, from"
            f" {count} image{'s' * (count > 1)}"
        )


def _spread(error: float, before: str) -> str:
    """A standard error in words; of one image there is none."""
    return "" if math.isnan(error) else f"{before}{error:.2f}"


def _interval(estimate: dict[str, Any]) -> str:
    return f"{estimate['value']:.2f} ({estimate['low']:.2f} to {estimate['high']:.2f})"
