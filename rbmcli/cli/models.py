"""The model that a run file holds."""

from __future__ import annotations

from typing import Any

from rbmcli.errors import RbmError
from rbmcli.io.runfile import RunReader
from rbmcli.model.rbm import Rbm


def load_model(run: RunReader) -> Rbm:
    """The machine of the last checkpoint; RbmError where the file's parts do not fit together."""
    config: dict[str, Any] = run.config
    parameters = {
        name: run.state[f"model/{name}"] for name in ("weights", "visible_bias", "hidden_bias")
    }
    model = Rbm.dense(
        run.image_shape,
        len(parameters["hidden_bias"]),
        config["visible-kind"],
        config["hidden-kind"],
    )
    for name, values in model.parameters().items():
        if values.shape != parameters[name].shape:
            raise RbmError(
                f"{run.path}: model/{name} has shape {parameters[name].shape} where"
                f" {values.shape} is expected: the file is damaged"
            )
    model.load(parameters)
    return model
