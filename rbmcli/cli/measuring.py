"""What `rbm evaluate` measures, put together: of one machine, of a stack, and of classes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.cli.options import Settings
from rbmcli.cli.progress import Progress
from rbmcli.cli.saying import say
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.inference import classifier, exact, reverse_ais
from rbmcli.inference.ais import log_partition
from rbmcli.inference.annealing import Path, ladder
from rbmcli.inference.bound import why_no_bound
from rbmcli.inference.evaluation import measure, measure_stack
from rbmcli.inference.features import features
from rbmcli.inference.labels import image_classes
from rbmcli.inference.likelihood import (
    LogPartition,
    annealed,
    exactly,
    mean_bound,
    mean_log_likelihood,
    spread_rows,
    with_conservative,
)
from rbmcli.learning.batch import Images
from rbmcli.model.density import has_density
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States

#: Images measured together.
_BLOCK = 1000

Facts = dict[str, Any]


@dataclass(frozen=True)
class Effort:
    """How much work is done; exact: whether log Z is summed, None where that is for it to say."""

    exact: bool | None
    ais_chains: int
    ais_temperatures: int
    raise_images: int
    raise_chains: int
    bound_samples: int


def machine_facts(model: Rbm, images: Images, effort: Effort, settings: Settings) -> Facts:
    """What can be said of a single machine."""
    draws = Draws(settings.seed)
    chosen = spread_rows(len(images.rows), effort.raise_images)
    with _told(settings, "images") as tell:
        measured = measure(model, _blocks(images, model.visible, draws, tell), draws, chosen)

    partition = likelihood = None
    if (reason := _no_likelihood(model.visible, model, measured.are_states)) is not None:
        say(f"no likelihood: {reason}")
    else:
        partition = _partition(model, measured.mean, effort, draws, settings)
        likelihood = mean_log_likelihood(measured.free_energies, partition)
        if partition.method != "exact" and len(chosen):
            visible = model.visible.states_of(measured.kept)
            path, betas = Path(model, measured.mean), ladder(effort.ais_temperatures)
            with _told(settings, "RAISE") as tell:
                estimates = reverse_ais.log_likelihood(
                    path, betas, visible, effort.raise_chains, draws, tell
                )
            likelihood = with_conservative(likelihood, measured.free_energies, chosen, estimates)
    return {
        "reconstruction_error": measured.reconstruction_error,
        "pseudo_log_likelihood": measured.pseudo_log_likelihood,
        "free_energy": float(measured.free_energies.mean()),
        "log_partition": None if partition is None else partition._asdict(),
        "log_likelihood": None if likelihood is None else likelihood._asdict(),
    }


def stack_facts(stack: Stack, images: Images, effort: Effort, settings: Settings) -> Facts:
    """What can be said of several machines, or of one with label units."""
    draws = Draws(settings.seed)
    with _told(settings, "images") as tell:
        blocks = _blocks(images, stack.image_layer, draws, tell)
        measured = measure_stack(stack, blocks, draws, effort.bound_samples)

    partition = bound = None
    no_likelihood = _no_likelihood(stack.image_layer, stack.top, measured.are_states)
    if (reason := no_likelihood or why_no_bound(stack)) is not None:
        say(f"no likelihood: {reason}")
    else:
        partition = _partition(stack.top, measured.top_mean, effort, draws, settings)
        bound = mean_bound(measured.log_weights, partition)
    return {
        "reconstruction_error": measured.reconstruction_error,
        "pseudo_log_likelihood": None,
        "free_energy": None,
        "log_partition": None if partition is None else partition._asdict(),
        "log_likelihood": None,
        "log_likelihood_bound": None if bound is None else bound._asdict(),
    }


def label_facts(
    stack: Stack, images: Images, source: str, samples: int, settings: Settings
) -> Facts:
    """The fraction of the images, with labels, that the label units take for another class."""
    labels = _labels(images)
    least, most = int(labels.min()), int(labels.max())
    if least < 0 or most >= stack.top.classes:
        raise RbmError(
            f"{source}: labels from {least} to {most}, but the machine has {stack.top.classes}"
            f" label units, for 0 to {stack.top.classes - 1}; name other labels with --labels"
        )
    draws, wrong, start = Draws(settings.seed), 0, 0
    with _told(settings, "label units") as tell:
        for states in _blocks(_as_they_are(images), stack.image_layer, draws, tell):
            draw = draws.at(Purpose.LABELS, 0, 0, start)
            found = image_classes(stack, states, draw, samples).argmax(axis=1)
            wrong += int((found != labels[start : start + states.rows]).sum())
            start += states.rows
    return {"label_error": wrong / start}


def classifier_facts(
    stack: Stack, layers: list[int], training: Images, images: Images, settings: Settings
) -> Facts:
    """The error of a linear classifier on the hidden units of some layers; both have labels."""
    with _told(settings, "features") as tell:
        known, found = (_features(stack, each, layers, tell) for each in (training, images))
    labels = _labels(training)
    with _told(settings, "classifier") as tell:
        fitted = classifier.fit(known, labels, tell)
    return {
        "classifier_error": classifier.error_of(fitted.predict(found), _labels(images)),
        "classifier": {
            "layers": layers,
            "images": len(labels),
            "inverse_penalty": fitted.inverse_penalty,
            "held_out_error": fitted.held_out_error,
        },
    }


def _labels(images: Images) -> NDArray[np.int64]:
    assert images.labels is not None
    return images.labels[images.rows]


def _partition(
    model: Rbm, mean: NDArray[np.float64], effort: Effort, draws: Draws, settings: Settings
) -> LogPartition:
    """log Z, summed where that is asked for or can be had, else estimated; mean: as of `Path`."""
    if effort.exact or (effort.exact is None and exact.is_exact(model)):
        with _told(settings, "log Z") as tell:
            return exactly(exact.log_partition(model, tell))
    path, betas = Path(model, mean), ladder(effort.ais_temperatures)
    with _told(settings, "AIS") as tell:
        estimate = log_partition(path, betas, effort.ais_chains, draws, tell)
    return annealed(estimate, effort.ais_chains, effort.ais_temperatures)


def _features(
    stack: Stack, images: Images, layers: list[int], tell: Callable[[float], None]
) -> Floats:
    draws = Draws(0)  # names nothing: means are not drawn
    blocks = _blocks(_as_they_are(images), stack.image_layer, draws, tell)
    draw = draws.at(Purpose.ACTIVATIONS, 0)
    return np.concatenate([features(stack, states, draw, layers) for states in blocks])


def _as_they_are(images: Images) -> Images:
    """The images' values as the units' states, neither drawn nor cut."""
    return replace(images, binarize="none")


def _blocks(
    images: Images, layer: Layer, draws: Draws, tell: Callable[[float], None]
) -> Iterator[States]:
    """Every image as a visible state, drawn once, in blocks."""
    for start in range(0, len(images.rows), _BLOCK):
        rows = images.rows[start : start + _BLOCK]
        yield images.states(rows, layer, draws.at(Purpose.BINARIZE, 0, 0, start))
        tell((start + len(rows)) / len(images.rows))


@contextmanager
def _told(settings: Settings, what: str) -> Iterator[Callable[[float], None]]:
    """Show the progress of a part of the work, told as the fraction done."""
    with Progress(100, settings.quiet) as progress:
        yield partial(progress.part, what)


def _no_likelihood(layer: Layer, top: Rbm, are_states: bool) -> str | None:
    """Why there is no likelihood, or None where there is one; layer: the images' units."""
    if not are_states:
        return (
            f"the data are no states of {layer.kind.name} units, as real values are not;"
            " --binarize sample or threshold makes states of them where units allow it"
        )
    if not has_density(top):
        return (
            f"{top.visible.kind.name} and {top.hidden.kind.name} units have a density for sure only"
            " while the spectral norm of the weights is below 1, and it is"
            f" {top.link.precise_spectral_norm():.4g}; train with --max-spectral-norm 0.7, or"
            " filters that move over images with a smaller --max-norm"
        )
    return None
