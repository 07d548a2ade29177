from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.draws import Draw

_Floats = NDArray[np.float32]
_Words = NDArray[np.uint64]
_Indices = NDArray[np.uint32]

#: Height, width and channels of the visible maps, height and width of the filters and their number,
#: height and width of the hidden maps.
_Maps = tuple[int, int, int, int, int, int, int, int]
#: Height, width and filters of the hidden maps, and positions along a side of a block.
_Pool = tuple[int, int, int, int]

#: Visible states, as bits or float32 (rows, ld), and hidden means.
_Phase = tuple[NDArray[Any], _Floats]
#: Biases and their velocities; natural biases and deviations; logarithms of these and their
#: velocities; the largest magnitude of the logarithms.
_Layer = tuple[
    _Floats, _Floats, _Floats | None, _Floats | None, _Floats | None, _Floats | None, float
]
#: Rate, momentum, decay, l1, whether nesterov.
_Rule = tuple[float, float, float, float, bool]
#: Offsets of visible and hidden units, products of the penalties with them, how fast they follow,
#: whether hidden ones do, whether the products are made anew.
_Centering = tuple[_Floats, _Floats, _Floats, _Floats, float, bool, bool]

PAD: int
MOST_POOL: int
WORTH_SHARING: int

def use_isa(name: str = "") -> None: ...
def isa() -> str: ...
def openmp_version() -> int: ...
def set_threads(count: int) -> None: ...

class Plan:
    replayable: bool
    def __init__(
        self, step: int, rows: NDArray[np.int64], memory: tuple[NDArray[Any], ...]
    ) -> None: ...
    def run(
        self,
        step: int,
        rows: NDArray[np.int64],
        rule: _Rule,
        refresh: NDArray[np.uint8],
    ) -> tuple[int, bool]: ...
    def anneal(
        self,
        betas: NDArray[np.float64],
        first: int,
        count: int,
        beta: _Floats,
        change: NDArray[np.float64],
    ) -> None: ...
    def run_timed(
        self,
        step: int,
        rows: NDArray[np.int64],
        rule: _Rule,
        refresh: NDArray[np.uint8],
        nanoseconds: NDArray[np.int64],
    ) -> tuple[int, bool]: ...
    def operations(self) -> list[tuple[str, str, int, int, tuple[int, ...]]]: ...

def record(step: int, rows: NDArray[np.int64], memory: tuple[NDArray[Any], ...]) -> None: ...
def recorded(learns: bool = True) -> Plan | None: ...
def share_from(work: int) -> None: ...
def make_threads(count: int, stack: int = 0) -> int: ...
def threads() -> int: ...
def random_words(draw: Draw, out: _Indices) -> None: ...
def binarize(
    images: NDArray[Any],
    index: NDArray[np.int64],
    scale: float,
    threshold: float | None,
    draw: Draw,
    bits: _Words,
) -> None: ...
def take(
    images: NDArray[Any],
    index: NDArray[np.int64],
    scale: float,
    sigma: _Floats | None,
    states: _Floats,
) -> None: ...
def exponentials(values: _Floats, out: _Floats) -> None: ...
def count_on(bits: _Words) -> int: ...
def list_on(bits: _Words, start: _Indices, index: _Indices) -> None: ...
def bits_to_floats(bits: _Words, units: int, floats: _Floats) -> None: ...
def floats_to_bits(floats: _Floats, units: int, bits: _Words) -> None: ...
def count_by_unit(bits: _Words, count: _Indices) -> None: ...
def most_listed(rows: int, units: int) -> int: ...
def first_units(rows: int, units: int) -> int: ...
def lists_length(rows: int, units: int, ld: int, turned: bool = False) -> int: ...
def bit_inputs(
    bits: _Words,
    units: int,
    matrix: _Floats,
    width: int,
    bias: _Floats,
    out: _Floats,
    lists: _Indices,
    turned: bool = False,
) -> None: ...
def multiply(
    a: _Floats,
    inner: int,
    b: _Floats,
    width: int,
    bias: _Floats,
    out: _Floats,
    turned: bool = False,
) -> None: ...
def accumulate_dense(
    visible: _Floats, hidden: _Floats, width: int, scale: float, gradient: _Floats
) -> None: ...
def accumulate(
    visible: _Words,
    hidden: _Floats,
    width: int,
    scale: float,
    gradient: _Floats,
    count: _Indices,
    index: _Indices,
    scaled: _Floats,
) -> None: ...
def apply(
    weights: _Floats,
    velocity: _Floats,
    hidden: int,
    gradient: _Floats,
    rule: _Rule,
) -> bool: ...
def lists_of(visible: int, rows0: int, rows1: int) -> int: ...
def update(
    weights: _Floats,
    velocity: _Floats,
    hidden: int,
    positive: _Phase,
    negative: _Phase,
    left: _Floats,
    right: _Floats,
    rule: _Rule,
    lists: _Indices,
    scaled: _Floats,
) -> bool: ...
def learn_floats(ld_visible: int, ld_hidden: int, rows: int, deviations: bool) -> int: ...
def learn(
    weights: _Floats,
    velocity: _Floats,
    hidden: int,
    positive: _Phase,
    negative: _Phase,
    rule: _Rule,
    below: _Layer,
    above: _Layer,
    centering: _Centering | None,
    lists: _Indices,
    scaled: _Floats,
    vectors: _Floats,
) -> bool: ...

class Kind:
    most: int
    as_bits: bool
    has_cumulant_change: bool
    def __init__(self, name: str) -> None: ...

def units(
    kind: Kind,
    total: _Floats,
    units: int,
    n: int,
    mean: _Floats | None,
    states: NDArray[Any] | None,
    draw: Draw | None,
) -> None: ...
def cumulant(
    kind: Kind,
    total: _Floats,
    units: int,
    n: int,
    out: NDArray[np.float64],
    scale: float | _Floats = 1.0,
    weight: float = 1.0,
) -> None: ...
def cumulant_change(
    kind: Kind,
    total: _Floats,
    units: int,
    n: int,
    out: NDArray[np.float64],
    beta: _Floats,
    weight: float = 1.0,
) -> None: ...
def temper(total: _Floats, beta: _Floats, reference: _Floats | None = None) -> None: ...
def sum_tabulated(
    states: _Floats, units: int, table: NDArray[np.float64], out: NDArray[np.float64]
) -> None: ...
def dot_rows(
    matrix: _Floats,
    vector: _Floats,
    out: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> None: ...
def dot_columns(matrix: _Floats, width: int, vector: _Floats, out: NDArray[np.float64]) -> None: ...
def dot_bits(
    bits: _Words,
    units: int,
    vector: _Floats,
    out: NDArray[np.float64],
    weight: NDArray[np.float64] | None = None,
) -> None: ...
def weigh_listed(start: _Indices, index: _Indices, weight: _Floats, out: _Floats) -> None: ...
def column_sums(
    matrix: _Floats, width: int, out: _Floats, weight: _Floats | None = None
) -> None: ...
def convolve(
    weights: _Floats, maps: _Maps, states: _Words | _Floats, bias: _Floats, out: _Floats
) -> None: ...
def deconvolve(
    weights: _Floats, maps: _Maps, states: _Words | _Floats, bias: _Floats, out: _Floats
) -> None: ...
def correlate(
    maps: _Maps,
    visible0: _Words | _Floats,
    hidden0: _Floats,
    visible1: _Words | _Floats,
    hidden1: _Floats,
    scale0: float,
    scale1: float,
    gradient: _Floats,
    add: bool = False,
) -> None: ...
def map_sums(states: _Words | _Floats, positions: int, maps: int, out: _Floats) -> None: ...
def learn_maps(
    weights: _Floats,
    velocity: _Floats,
    maps: _Maps,
    gradient: _Floats,
    visible_sums: tuple[_Floats, _Floats],
    hidden_sums: tuple[_Floats, _Floats],
    rule: _Rule,
    below: tuple[_Floats, _Floats, _Floats],
    above: tuple[_Floats, _Floats, _Floats],
    centering: _Centering | None,
    sparsity: tuple[_Floats, float, float, float] | None,
    vectors: _Floats,
) -> bool: ...
def pooled(
    total: _Floats,
    maps: _Pool,
    mean: _Floats | None,
    bits: _Words | None,
    draw: Draw | None,
) -> None: ...
def pooled_cumulant(
    total: _Floats,
    maps: _Pool,
    out: NDArray[np.float64],
    scale: float | _Floats = 1.0,
    weight: float = 1.0,
) -> None: ...
def pooled_means(means: _Floats, maps: _Pool, out: _Floats) -> None: ...
def pooled_bits(bits: _Words, maps: _Pool, out: _Words) -> None: ...
