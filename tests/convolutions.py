"""Convolutional machines so small that they can be written out, or all their states be counted."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import connections, tie

from rbmcli.arrays import to_padded
from rbmcli.draws import Draws, Purpose
from rbmcli.model.layer import Layer
from rbmcli.model.links import ConvolutionalLink, DenseLink
from rbmcli.model.rbm import Rbm
from rbmcli.model.states import States

Array = NDArray[np.float64]
Parameters = dict[str, Array]

#: Machines whose units are binary: all of their states can be counted.
BINARY: dict[str, dict[str, Any]] = {
    "plain": {"visible_shape": (3, 3), "filters": (2, 2, 3), "pool": 1},
    "pooled": {"visible_shape": (3, 4), "filters": (2, 2, 3), "pool": 2},
    "blocks": {"visible_shape": (2, 5), "filters": (2, 1, 2), "pool": 2},
    "by three": {"visible_shape": (3, 4), "filters": (2, 1, 2), "pool": 3},
    "cut off": {"visible_shape": (4, 3), "filters": (2, 2, 1), "pool": 2},
    "planes": {"visible_shape": (2, 2, 3), "filters": (2, 1, 2), "pool": 2},
    "channels last": {"visible_shape": (2, 3, 2), "filters": (2, 1, 2), "pool": 2, "planar": False},
    "planes, plain": {"visible_shape": (3, 2, 2), "filters": (2, 2, 1), "pool": 1},
}
#: Machines of other kinds, visible and hidden.
OF_KINDS: dict[str, dict[str, Any]] = {
    f"{visible}-{hidden}-{pool}": {
        "visible_shape": (2, 2, 3),
        "filters": (2, 1, 2),
        "pool": pool,
        "visible_kind": visible,
        "hidden_kind": hidden,
    }
    for visible, hidden, pool in [
        ("binomial:3", "bernoulli", 2),
        ("gaussian", "bernoulli", 2),
        ("gaussian:learned", "bernoulli", 2),
        ("nrelu:exact", "bernoulli", 2),
        ("gaussian", "bernoulli", 1),
        ("bernoulli", "binomial:3", 1),
        ("bernoulli", "nrelu:exact", 1),
        ("bernoulli", "gaussian", 1),
        ("bernoulli", "gaussian:learned", 1),
        ("gaussian:learned", "gaussian:learned", 1),
        ("binomial:2", "nrelu", 1),
    ]
}
MACHINES = BINARY | OF_KINDS
each_machine = pytest.mark.parametrize("name", MACHINES)
each_binary = pytest.mark.parametrize("name", BINARY)


def machine(name: str, scale: float = 0.6) -> Rbm:
    """One with random parameters; those of kinds with no density for large weights are smaller."""
    rng = np.random.default_rng([*map(ord, name)])
    model = Rbm.convolutional(**MACHINES[name])
    if model.visible.kind.quadratic and model.hidden.kind.quadratic:
        scale = 0.1
    model.load({name: rng.normal(0, scale, x.shape) for name, x in model.parameters().items()})
    return model


def link_of(model: Rbm) -> ConvolutionalLink:
    assert isinstance(model.link, ConvolutionalLink)
    return model.link


def channel_and_filter(model: Rbm) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The channel of each visible unit, the filter of each hidden one."""
    maps = link_of(model).maps
    channels, pixels = np.arange(maps.channels), maps.height * maps.width
    of_visible = np.repeat(channels, pixels) if maps.planar else np.tile(channels, pixels)
    return of_visible, np.tile(np.arange(maps.filters), maps.hidden_height * maps.hidden_width)


def written_out(model: Rbm) -> Rbm:
    """The dense machine that is the same, every unit having parameters of its own."""
    below, above = model.visible, model.hidden
    dense = Rbm(
        Layer(below.kind, below.shape),
        Layer(above.kind, above.shape),
        DenseLink(below.units, above.units),
    )
    of_visible, of_hidden = channel_and_filter(model)
    parameters = model.parameters()
    dense.load(
        {"weights": connections(model)}
        | {
            name: parameters[name][of_visible if name.startswith("visible") else of_hidden]
            for name in dense.parameters()
            if name != "weights"
        }
    )
    return dense


def some_states(layer: Layer, rows: int = 40, seed: int = 1) -> States:
    """States drawn from unconnected units."""
    total = np.random.default_rng(seed).normal(-0.7, 0.8, (rows, layer.units))
    return layer.sample(to_padded(total), Draws(seed).at(Purpose.CHAINS, 0))


def parameters_of(model: Rbm) -> Parameters:
    return {name: values.astype(np.float64) for name, values in model.parameters().items()}


# The oracle: every state of both layers, in float64 ----------------------------------------------


def all_bits(units: int) -> NDArray[np.uint8]:
    """Every binary state, (2^units, units); number i has the binary digits of i, lowest first."""
    return (np.arange(1 << units)[:, np.newaxis] >> np.arange(units) & 1).astype(np.uint8)


def hidden_states(model: Rbm) -> NDArray[np.uint8]:
    """Every state of the hidden layer, listed by (position, filter) as the paper says it.

    At most one unit is on of those of a filter in a block.
    """
    height, width, filters = model.hidden.shape
    pool = model.hidden.kind.pool
    blocks = []
    for py, px, k in np.ndindex(height // pool, width // pool, filters):
        outcomes = [()] + [
            (((py * pool + cy) * width + px * pool + cx) * filters + k,)
            for cy, cx in np.ndindex(pool, pool)
        ]
        blocks.append(outcomes)
    every = list(itertools.product(*blocks))
    states = np.zeros((len(every), model.hidden.units), np.uint8)
    for row, chosen in zip(states, every, strict=True):
        row[[unit for outcome in chosen for unit in outcome]] = 1
    return states


def exponents(model: Rbm, p: Parameters) -> Array:
    """-E(v, h) of every state, (visible states, hidden states), with these parameters."""
    visible, hidden = all_bits(model.visible.units), hidden_states(model)
    matrix = tie(link_of(model), p["weights"])
    channels, filters = channel_and_filter(model)
    own = (visible @ p["visible_bias"][channels])[:, np.newaxis]
    return own + hidden @ p["hidden_bias"][filters] + visible @ matrix @ hidden.T


def joint(model: Rbm) -> Array:
    """p(v, h), (visible states, hidden states)."""
    of_all = exponents(model, parameters_of(model))
    return np.exp(of_all - np.logaddexp.reduce(of_all, axis=None))


def mean_log_likelihood(model: Rbm, p: Parameters, numbers: NDArray[np.int64]) -> float:
    """Of data given as state numbers."""
    of_visible = np.logaddexp.reduce(exponents(model, p), axis=1)
    return float(of_visible[numbers].mean() - np.logaddexp.reduce(of_visible))
