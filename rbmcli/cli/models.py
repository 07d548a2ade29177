"""The model that a run file holds, its persistent chains, and what its images went through."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np

from rbmcli.arrays import Floats, to_padded
from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runfile import RunReader
from rbmcli.io.schema import UP_DOWN
from rbmcli.io.section import Section, damage_of
from rbmcli.io.sizes import Filters
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States
from rbmcli.model.units import unit_kind

#: Most hidden units of a convolution, about: few bytes of a file may stand for very many.
_MOST_UNITS = 1 << 25


def load_machine(section: Section, below: tuple[int, ...] | Layer) -> Rbm:
    """The machine of a section's last checkpoint; RbmError where the parts do not fit together.

    below: what it stands on, images of a shape or a hidden layer.
    """
    shape = below.fed_shape if isinstance(below, Layer) else below
    with damage_of(section.path):
        config = section.config
        if "conv" in config:
            model = _convolutional(config, shape, planar=not isinstance(below, Layer))
        else:
            model = _dense(config, shape, section.state.shape_and_dtype("model/weights")[0])
        _load(model, section)
    return model


def _dense(config: Mapping[str, Any], shape: tuple[int, ...], weights: tuple[int, ...]) -> Rbm:
    """The form of a dense model; ValueError where weights of that shape are not its own.

    Shapes are compared before anything is made of them: a few bytes may stand for many.
    """
    classes, group = int(config.get("classes") or 0), unit_kind(config["hidden-kind"]).group
    if len(weights) != 2 or weights[0] != prod(shape) + classes or weights[1] % group:
        raise ValueError(f"weights have shape {weights}, for {prod(shape)} values")
    kinds = config["visible-kind"], config["hidden-kind"]
    return Rbm.dense(shape, weights[1] // group, *kinds, labels=classes)


def _convolutional(config: Mapping[str, Any], shape: tuple[int, ...], *, planar: bool) -> Rbm:
    """The form of a convolution; LookupError or ValueError where the options are not those of one.

    Training has checked them, so that others are damage, and not the user's to mend.
    """
    pool, kinds = config["pool"], (config["visible-kind"], config["hidden-kind"])
    try:
        filters = Filters.parse(str(config["conv"])).shape
        if prod(shape) * filters[0] > _MOST_UNITS:
            raise ValueError(f"{filters[0]} filters over {shape} are too many units")
        return Rbm.convolutional(shape, filters, pool, *kinds, planar=planar)
    except RbmError as error:
        raise ValueError(error) from None


def load_stack(run: RunReader, *, greedy: bool = False) -> Stack:
    """All machines of the last checkpoint, of a run of `rbm train` the only one.

    greedy: as they were before up-down. RbmError where the file's parts do not fit together.
    """
    machines: list[Rbm] = []
    for section in run.layers:
        below = machines[-1].hidden if machines else run.image_shape
        machines.append(load_machine(section, below))
    stack = Stack(machines)
    if greedy or UP_DOWN not in run.sections:
        return stack
    with damage_of(run.path):
        stack = stack.untied()
        _load(stack, run.sections[UP_DOWN])
    return stack


def _load(model: Rbm | Stack, section: Section) -> None:
    parameters = {name: section.state[f"model/{name}"] for name in model.parameters()}
    for name, values in model.parameters().items():
        if values.shape != parameters[name].shape:
            raise ValueError(f"model/{name} has shape {parameters[name].shape}")
    model.load(parameters)


def load_preprocessing(run: RunReader) -> Preprocessing | None:
    """How the run's images were preprocessed, if they were; RbmError where parts do not fit."""
    if "preprocess" not in run.config:
        return None
    with damage_of(run.path):
        prefix = "preprocessing/"
        parts = {
            name.removeprefix(prefix): run.state[name]
            for name in run.state
            if name.startswith(prefix)
        }
        names = str(run.config["preprocess"]).split(",")
        return Preprocessing.restore(names, parts, prod(run.image_shape))


def load_chains(section: Section, model: Rbm) -> States:
    """Hidden states of a machine's persistent chains; RbmError where its section keeps none.

    Of parallel tempering, those at inverse temperature 1.
    """
    if "trainer/chains/hidden" not in section.state:
        algorithm = section.config.get("algorithm")
        raise RbmError(
            f"{section.path}: the run keeps no chains"
            f" ({f'its algorithm is {algorithm}' if algorithm else 'it was imported'});"
            " use --start data or --start random"
        )
    with damage_of(section.path):
        hidden = section.state["trainer/chains/hidden"]
        rungs = (
            len(section.state["trainer/chains/beta"])
            if "trainer/chains/beta" in section.state
            else 1
        )
        if hidden.shape[1:] != (model.hidden.units,) or len(hidden) % rungs:
            raise ValueError(f"trainer/chains/hidden has shape {hidden.shape}")
        return model.hidden.states_of(hidden[: len(hidden) // rungs])


def load_reference(section: Section, model: Rbm) -> Floats | None:
    """Natural visible biases of a machine's replicas at inverse temperature 0, padded; or None."""
    if "trainer/chains/reference" not in section.state:
        return None
    with damage_of(section.path):
        reference: np.ndarray = section.state["trainer/chains/reference"]
        if reference.shape != (model.visible.units,):
            raise ValueError(f"trainer/chains/reference has shape {reference.shape}")
        return to_padded(reference)
