"""The model that a run file holds, and what its images went through."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runfile import RunReader
from rbmcli.model.rbm import Rbm
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


def load_model(run: RunReader) -> Rbm:
    """The machine of the last checkpoint; RbmError where the file's parts do not fit together."""
    with damage_told(run.path):
        kind = unit_kind(run.config["hidden-kind"])
        hidden = len(run.state["model/hidden_bias"]) // kind.group
        model = Rbm.dense(run.image_shape, hidden, run.config["visible-kind"], kind.name)
        parameters = {name: run.state[f"model/{name}"] for name in model.parameters()}
        for name, values in model.parameters().items():
            if values.shape != parameters[name].shape:
                raise ValueError(f"model/{name} has shape {parameters[name].shape}")
        model.load(parameters)
    return model


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
