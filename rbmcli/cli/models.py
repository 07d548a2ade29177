"""The model that a run file holds, its persistent chains, and what its images went through."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from rbmcli.arrays import Floats, to_padded
from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runfile import RunReader
from rbmcli.io.section import UP_DOWN, Section
from rbmcli.io.sizes import Filters
from rbmcli.model.layer import Layer
from rbmcli.model.rbm import Rbm
from rbmcli.model.stack import Stack
from rbmcli.model.states import States
from rbmcli.model.units import unit_kind


@contextmanager
def damage_told(path: Path) -> Iterator[None]:
    """Turn what is raised where parts of a run file are missing or do not fit into an RbmError."""
    try:
        yield
    except (LookupError, ValueError) as error:
        raise RbmError(
            f"{path}: a damaged run file ({error}): restore it from a copy, or train again"
        ) from error


def load_machine(section: Section, below: tuple[int, ...] | Layer) -> Rbm:
    """The machine of a section's last checkpoint; RbmError where the parts do not fit together.

    below: what it stands on, images of a shape or a hidden layer.
    """
    shape = below.fed_shape if isinstance(below, Layer) else below
    with damage_told(section.path):
        config = section.config
        kinds = config["visible-kind"], config["hidden-kind"]
        if "conv" in config:
            model = _convolutional(config, shape, planar=not isinstance(below, Layer))
        else:
            hidden = len(section.state["model/hidden_bias"]) // unit_kind(kinds[1]).group
            model = Rbm.dense(shape, hidden, *kinds, labels=int(config.get("classes", 0)))
        _load(model, section)
    return model


def _convolutional(config: Mapping[str, Any], shape: tuple[int, ...], *, planar: bool) -> Rbm:
    """The form of a convolution; LookupError or ValueError where the options are not those of one.

    Training has checked them, so that others are damage, and not the user's to mend.
    """
    pool, kinds = config["pool"], (config["visible-kind"], config["hidden-kind"])
    if not isinstance(pool, int) or pool < 1:
        raise ValueError(f"pool is {pool!r}")
    try:
        filters = Filters.parse(str(config["conv"])).shape
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
    with damage_told(run.path):
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
    with damage_told(run.path):
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
    with damage_told(section.path):
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
    with damage_told(section.path):
        reference: np.ndarray = section.state["trainer/chains/reference"]
        if reference.shape != (model.visible.units,):
            raise ValueError(f"trainer/chains/reference has shape {reference.shape}")
        return to_padded(reference)
