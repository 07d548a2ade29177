"""`rbm export` and `rbm import` of machines whose filters move over images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from commands import contents, refused
from numpy.lib.stride_tricks import sliding_window_view
from safetensors.numpy import load_file
from stacks import Filters, stack_arrays, write_stack

from rbmcli.arrays import to_padded
from rbmcli.cli.main import run as rbm
from rbmcli.cli.models import load_stack
from rbmcli.draws import Draws, Purpose
from rbmcli.io.runfile import RunReader
from rbmcli.model.stack import Stack
from rbmcli.model.states import FloatStates

#: (shape of images, kinds from the images up, layers, label units). Some leave out the last rows
#: and columns, since these make no whole block.
STACKS: list[tuple[tuple[int, ...], list[str], list[int | Filters], int]] = [
    ((6, 7), ["bernoulli"] * 2, [Filters(3, 2, 3, 2)], 0),
    ((3, 5, 6), ["gaussian:learned", "gaussian:learned"], [Filters(4, 2, 3, 1)], 0),
    ((2, 6, 6), ["gaussian:learned", "bernoulli"], [Filters(4, 2, 2, 3)], 0),
    ((9, 10), ["bernoulli"] * 4, [Filters(3, 3, 2, 2), Filters(4, 2, 2, 1), 5], 0),
    ((2, 12, 11), ["binomial:3", "bernoulli", "bernoulli", "bernoulli"],
     [Filters(3, 3, 2, 2), Filters(4, 2, 2, 2), 5], 3),
    ((5, 6), ["bernoulli", "gaussian:learned", "nrelu"], [Filters(3, 2, 3, 1), 4], 0),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def exported(run: str, name: str) -> dict[str, Any]:
    assert rbm(["export", run, "-o", name, "--quiet"]) == 0
    if name.endswith(".safetensors"):
        return load_file(name)
    with np.load(name, allow_pickle=False) as arrays:
        return dict(arrays)


def loaded(name: str) -> Stack:
    with RunReader(Path(name)) as run:
        return load_stack(run)


def model_of(name: str) -> dict[str, Any]:
    return {place: x for place, x in contents(Path(name)).items() if "model/" in place}


# NumPy -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "kinds", "hidden", "classes"), STACKS, ids=str)
def test_machines_come_back(folder, shape, kinds, hidden, classes):
    given = write_stack("run.h5", shape, kinds, hidden, classes)
    found = exported("run.h5", "again.npz")
    single = len(hidden) == 1
    assert set(found) == {name.removeprefix("0/") if single else name for name in given}
    for name, values in given.items():
        own = found[name.removeprefix("0/") if single else name]
        assert own.dtype == values.dtype
        assert (own == values).all()
    before = contents("run.h5")
    assert rbm(["import", "again.npz", "-o", "run.h5", "--force", "--quiet"]) == 0
    assert contents("run.h5") == before


def test_a_trained_run_comes_back(folder, capfd):
    np.save("images.npy", np.random.default_rng(0).random((20, 3, 7, 8), np.float32))
    words = ["--conv", "4x3x2", "--pool", "2", "--visible-kind", "gaussian:learned", "--lr", "0.01"]
    assert rbm(["train", "images.npy", "-o", "run.h5", *words, "--epochs", "1", "--quiet"]) == 0
    assert rbm(["export", "run.h5", "-o", "a.npz"]) == 0
    assert rbm(["import", "a.npz", "-o", "new.h5"]) == 0
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "a.npz: 4 x 3 x 3 x 2 weights",
        "new.h5: 126 gaussian:learned x 96 bernoulli pooled 2x2 units, images of 3 x 6 x 7",
    ]
    assert model_of("new.h5") == model_of("run.h5")
    with h5py.File("run.h5") as old, h5py.File("new.h5") as new:
        assert (old["filters"][-1] == new["filters"][0]).all()
        assert (old.attrs["image_shape"] == new.attrs["image_shape"]).all()
        config = [json.loads(file.attrs["config"]) for file in (old, new)]
    for name in ("conv", "pool", "visible-kind", "hidden-kind"):
        assert config[0][name] == config[1][name]
    assert "hidden" not in config[1]


def test_a_trained_stack_comes_back(folder):
    np.save("images.npy", np.random.default_rng(0).random((20, 9, 10), np.float32))
    layers = ["--add-layer", "conv=3x3x2,pool=2", "--add-layer", "conv=4x2x2,pool=1"]
    words = ["stack", "images.npy", *layers, "--add-layer", "5", "--epochs", "1", "--quiet"]
    assert rbm([*words, "-o", "run.h5"]) == 0
    exported("run.h5", "a.npz")
    assert rbm(["import", "a.npz", "-o", "new.h5", "--quiet"]) == 0
    assert model_of("new.h5") == model_of("run.h5")
    for run in ("run", "new"):
        words = ["features", f"{run}.h5", "images.npy", "--layer", "all", "-o", f"{run}.npz"]
        assert rbm([*words, "--quiet"]) == 0
    assert (folder / "new.npz").read_bytes() == (folder / "run.npz").read_bytes()


@pytest.mark.parametrize("stack", [False, True])
def test_what_is_imported_says_how_to_train_the_like(folder, capfd, stack):
    hidden = [Filters(3, 3, 2, 2), Filters(4, 2, 2, 1), 5] if stack else [Filters(3, 3, 2, 2)]
    write_stack("run.h5", (8, 9), ["bernoulli"] * (len(hidden) + 1), hidden)
    np.save("images.npy", np.random.default_rng(0).random((20, 8, 9), np.float32))
    capfd.readouterr()
    assert rbm(["info", "run.h5", "--config"]) == 0
    (folder / "run.toml").write_text(capfd.readouterr().out)
    words = ["stack" if stack else "train", "images.npy", "--config", "run.toml", "--epochs", "1"]
    assert rbm([*words, "-o", "new.h5", "--quiet"]) == 0
    before, after = model_of("run.h5"), model_of("new.h5")
    assert {name: x[:2] for name, x in before.items()} == {name: x[:2] for name, x in after.items()}
    pools = [
        [machine.hidden.kind.pool for machine in loaded(name).machines]
        for name in ("run.h5", "new.h5")
    ]
    assert pools[0] == pools[1] == ([2, 1, 1] if stack else [2])


def published(**changes: Any) -> dict[str, Any]:
    """Arrays as other programs write them: 4 filters of 3 x 2 over 2 channels."""
    rng = np.random.default_rng(1)
    arrays = {"weights": rng.normal(0, 1, (4, 2, 3, 2))}
    arrays |= {"visible_bias": rng.normal(0, 1, 2), "hidden_bias": rng.normal(0, 1, 4)}
    return {name: x for name, x in (arrays | changes).items() if x is not None}


@pytest.mark.parametrize("pool", [None, 1, 2])
def test_published_filters(folder, pool):
    changes = {} if pool is None else {"pool": np.array(pool)}
    np.savez("weights.npz", **published(**changes))
    words = ["import", "weights.npz", "-o", "new.h5", "--shape", "2x7x6", "--quiet"]
    assert rbm(words) == 0
    machine = loaded("new.h5").top
    assert (machine.link.weights == published()["weights"].astype(np.float32)).all()
    side = pool or 1
    assert machine.hidden.fed_shape == (5 // side, 5 // side, 4)
    again = exported("new.h5", "again.npz")
    assert again["pool"].item() == side
    assert again["image_shape"].tolist() == [2, 7, 6]


SHAPE = ("--shape", "2x7x6")


@pytest.mark.parametrize(
    ("arrays", "options", "says"),
    [
        ({}, (), "holds filters and no image_shape, so not how large images are: give --shape"),
        ({}, ("--shape", "7x6"), "filters are for 2 channels, and it stands on an image of 1: gi"),
        ({}, ("--shape", "3x7x6"), "are for 2 channels, and it stands on an image of 3: give ano"),
        ({}, ("--shape", "84"), "a convolution needs rows and columns"),
        ({}, ("--shape", "2x99999x99999"), "images of 2x99999x99999 are larger than the 16777216"),
        ({}, ("--shape", "2x2x9"), "filters of 3x2 (height x width) are larger than what they"),
        ({"image_shape": np.array([2, 7, 1])}, (), "filters of 3x2 (height x width) are larger"),
        ({"weights": np.ones((4, 3, 2))}, SHAPE, "weights has shape (4, 3, 2): store a matrix, v"),
        (
            {"visible_bias": np.ones(84)},
            SHAPE,
            "weights have shape (4, 2, 3, 2), filters x channels x height x width, and do not fit:"
            " 84 visible and 4 hidden biases, but 2 channels and 4 filters",
        ),
        ({"hidden_bias": np.ones(3)}, SHAPE, "2 visible and 3 hidden biases, but 2 channels and"),
        ({"visible_bias": np.ones((2, 1))}, SHAPE, "visible_bias has shape (2, 1): store a vect"),
        (
            {"visible_log_sigma": np.zeros(3)},
            (*SHAPE, "--visible-kind", "gaussian:learned"),
            "visible_log_sigma has shape (3,), but there are 2 visible biases",
        ),
        ({"visible_log_sigma": np.zeros(2)}, SHAPE, "holds visible_log_sigma, which bernoulli ha"),
        ({"pool": np.array(0)}, SHAPE, "pool is not a number of rows and columns of a block: sto"),
        ({"pool": np.array(2.0)}, SHAPE, "pool is not a number of rows and columns of a block"),
        ({"pool": np.array([2, 2])}, SHAPE, "pool is not a number of rows and columns of a block"),
        ({"pool": np.array(6)}, SHAPE, "fewer than a block of 6x6 that is pooled; use smaller fi"),
        (
            {"pool": np.array(17)},
            ("--shape", "2x30x30"),
            "units cannot be pooled in blocks of 17x17: at most in 16x16",
        ),
        (
            {"pool": np.array(2), "hidden_kind": np.array("nrelu")},
            SHAPE,
            "nrelu hidden units cannot be pooled; use bernoulli ones, or pool 1",
        ),
        ({}, (*SHAPE, "--hidden-kind", "softmax:2"), "softmax:2 units have no rows and columns"),
        (
            {"weights": np.ones((2, 4)), "pool": np.array(2)},
            (),
            "holds pool, but weights is a matrix, visible x hidden: only filters that move over",
        ),
        ({"hidden_kind": np.array("bernoulli pooled 2x2")}, SHAPE, "is not a kind of unit"),
    ],
    ids=str,
)
def test_filters_that_do_not_fit(folder, capfd, arrays, options, says):
    np.savez("weights.npz", **published(**arrays))
    line = refused(capfd, "import", "weights.npz", "-o", "new.h5", *options)
    assert line.startswith("rbm: error: weights.npz: ")
    assert says in line


def test_stacks_that_do_not_fit(folder, capfd):
    kinds, hidden = ["bernoulli"] * 4, [Filters(3, 3, 2, 2), Filters(4, 2, 2, 1), 5]

    def says(change: dict[str, Any], *, classes: int = 0) -> str:
        arrays = stack_arrays((9, 10), kinds, hidden, classes) | change
        np.savez("stack.npz", **arrays)
        return refused(capfd, "import", "stack.npz", "-o", "new.h5")

    def filters(*shape: int) -> dict[str, Any]:
        biases = {"1/visible_bias": np.ones(shape[1]), "1/hidden_bias": np.ones(shape[0])}
        return {"1/weights": np.ones(shape), **biases}

    assert "machine 1: its filters are for 2 channels, and it stands on a layer of 3: store" in (
        says(filters(4, 2, 2, 2))
    )
    assert "machine 1: filters of 4x2 (height x width) are larger than what they stand on" in says(
        filters(4, 3, 4, 2)
    )
    assert "machine 2: 24 visible units, but it stands on 30 units: store" in says(
        filters(5, 3, 2, 2)
    )
    assert "machine 2: 24 visible units, but it stands on 24 units and 3 label units" in says(
        {"classes": np.array(3)}
    )
    dense = {"0/weights": np.ones((90, 3)), "0/visible_bias": np.ones(90)}
    arrays = stack_arrays((9, 10), kinds, hidden) | dense
    np.savez("stack.npz", **{name: x for name, x in arrays.items() if name != "0/pool"})
    line = refused(capfd, "import", "stack.npz", "-o", "new.h5")
    assert "machine 1: a convolution needs rows and columns" in line
    assert "machine 1: nrelu units cannot stand on bernoulli ones" in says(
        {"1/visible_kind": np.array("nrelu")}
    )
    apart = {
        f"{level}/generative_{name}": stack_arrays((9, 10), kinds, hidden)[f"{level}/{like}"]
        for level in (0, 1)
        for name, like in (("weights", "weights"), ("bias", "visible_bias"))
    }
    assert "belong to machines without filters: machine 0 has some, so leave them out" in says(
        apart
    )
    top = stack_arrays((9, 10), kinds[:3], hidden[:2]) | {"classes": np.array(3)}
    np.savez("top.npz", **top)
    line = refused(capfd, "import", "top.npz", "-o", "new.h5")
    assert "label units have no place in what the filters of the top machine move over" in line


# Tensors -----------------------------------------------------------------------------------------


def correlated(maps: Any, weight: Any, bias: Any) -> Any:
    """What torch.nn.Conv2d makes of maps (rows, channels, height, width)."""
    windows = sliding_window_view(maps, weight.shape[2:], axis=(2, 3))
    return np.einsum("rcyxij,kcij->rkyx", windows, weight) + bias[:, None, None]


def transposed(maps: Any, weight: Any, bias: Any) -> Any:
    """What torch.nn.ConvTranspose2d makes of maps (rows, filters, height, width)."""
    rows, _, high, wide = maps.shape
    _, channels, height, width = weight.shape
    out = np.zeros((rows, channels, high + height - 1, wide + width - 1)) + bias[:, None, None]
    for y in range(high):
        for x in range(wide):
            out[:, :, y : y + height, x : x + width] += np.einsum(
                "rk,kcij->rcij", maps[:, :, y, x], weight
            )
    return out


def pooled(total: Any, pool: int) -> Any:
    """Probability that one of each block is on; what makes no whole block is left out."""
    windows = sliding_window_view(total, (pool, pool), axis=(2, 3))[:, :, ::pool, ::pool]
    sums = np.exp(windows).sum(axis=(-2, -1))
    return sums / (1 + sums)


def activated(name: str, total: Any, pool: int = 1) -> Any:
    """What the activation functions that the metadata name make of total inputs."""
    return {
        "sigmoid": lambda: 1 / (1 + np.exp(-total)),
        "3 * sigmoid": lambda: 3 / (1 + np.exp(-total)),
        "relu": lambda: np.maximum(total, 0),
        "identity": lambda: total,
        "probabilistic max pooling": lambda: pooled(total, pool),
    }[name]()


def about_layers(name: str) -> list[dict[str, Any]]:
    """What the metadata say of each layer."""
    content = Path(name).read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    layers: list[dict[str, Any]] = json.loads(header["__metadata__"]["rbm"])["layers"]
    return layers


def by_channel(values: Any, shape: tuple[int, ...], *, planar: bool) -> Any:
    """Values of units (rows, units) as maps (rows, channels, height, width)."""
    if planar:
        return values.reshape(len(values), -1, *shape[-2:])
    return np.moveaxis(values.reshape(-1, *shape), -1, 1)


@pytest.mark.parametrize(("shape", "kinds", "hidden", "classes"), STACKS, ids=str)
def test_tensors_make_the_same_features(folder, shape, kinds, hidden, classes):
    write_stack("run.h5", shape, kinds, hidden, classes)
    tensors, stack = exported("run.h5", "a.safetensors"), loaded("run.h5")
    layers = about_layers("a.safetensors")
    assert [layer["hidden_kind"] for layer in layers] == kinds[1:]
    assert [layer.get("pool") for layer in layers] == [getattr(x, "pool", None) for x in hidden]

    images = np.random.default_rng(0).random((10, int(np.prod(shape)))).astype(np.float32)
    draw, lowest = Draws(0).at(Purpose.BINARIZE, 0), stack.image_layer
    states = lowest.from_data(images, np.arange(10), 1.0, "none", draw)
    levels = stack.raised(states, draw, sampled=False)
    values: Any = images.astype(np.float64)
    for level, layer in enumerate(layers):
        weight, bias = (tensors[f"encoder.{level}.{name}"] for name in ("weight", "bias"))
        assert weight.dtype == bias.dtype == np.float32
        if "convolution" in layer:
            total = correlated(values.reshape(10, *layer["input_shape"]), weight, bias)
            values = activated(layer["encoder_activation"], total, layer["pool"])
            assert values.shape[1:] == tuple(layer["output_shape"])
            found = np.moveaxis(values, 1, -1).reshape(10, -1)
        else:
            if "input_order" in layer:
                assert layer["input_order"] == "height, width, maps"
                values = np.moveaxis(values, 1, -1)
                assert values.shape[1:] == tuple(layer["input_shape"])
            total = values.reshape(10, -1) @ weight.T + bias
            values = found = activated(layer["encoder_activation"], total)
        own = stack.machines[level].hidden
        expected = levels[level + 1].to_array()
        expected = own.to_data(expected) if own.kind.has_sigma else expected
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(("shape", "kinds", "hidden", "classes"), STACKS, ids=str)
def test_tensors_lead_down_as_the_machines_do(folder, shape, kinds, hidden, classes):
    write_stack("run.h5", shape, kinds, hidden, classes)
    tensors, stack = exported("run.h5", "a.safetensors"), loaded("run.h5")
    for level, layer in enumerate(about_layers("a.safetensors")):
        own = stack.machines[level]
        values = np.random.default_rng(level).random((10, own.hidden.units))
        states = FloatStates(to_padded(values), own.hidden.units)
        expected = own.visible.to_data(own.visible.mean(own.visible_input(states)).to_array())
        weight, bias = (tensors[f"decoder.{level}.{name}"] for name in ("weight", "bias"))
        given = own.hidden.to_data(values)
        if "convolution" in layer:
            filters, *places = layer["hidden_shape"]
            given = by_channel(given, (*places, filters), planar=False)
            total = transposed(given, weight, bias)
            expected = by_channel(expected, own.visible.shape, planar=level == 0)
            assert expected.shape[1:] == tuple(layer["input_shape"])
            # Rows and columns beyond those that filters reach have their bias alone.
            expected = expected[:, :, : total.shape[2], : total.shape[3]]
        else:
            total, expected = given @ weight.T + bias, expected[:, : own.features]
        found = activated(layer["decoder_activation"], total)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=1e-5)


def test_filters_without_deviations_are_the_same_both_ways(folder):
    write_stack("run.h5", (9, 10), ["bernoulli"] * 2, [Filters(3, 3, 2, 2)])
    tensors = exported("run.h5", "a.safetensors")
    with h5py.File("run.h5") as file:
        weights = file["model/weights"][()]
    assert weights.shape == (3, 1, 3, 2)
    assert (tensors["encoder.0.weight"] == weights).all()
    assert (tensors["decoder.0.weight"] == weights).all()
    assert {name: x.shape for name, x in tensors.items() if name.endswith("bias")} == {
        "encoder.0.bias": (3,),
        "decoder.0.bias": (1,),
    }
