"""Every visible unit connected to every hidden unit."""

from __future__ import annotations

from functools import reduce
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Doubles, Floats, Scratch, padded, to_padded, zeros
from rbmcli.model.links.link import (
    CenteringTerms,
    Correction,
    LayerTerms,
    Link,
    Phase,
    Products,
    Rule,
    SparsityTerms,
)
from rbmcli.model.states import BitStates, FloatStates, States, array_of


class DenseGradient(NamedTuple):
    """A gradient that is not written down: the update forms it row by row."""

    positive: Phase
    negative: Phase
    correction: Correction


class DenseLink(Link[DenseGradient | Floats]):
    """Weights (visible, hidden).

    `padded_weights` and `velocity` are float32 (visible, ld of hidden); `weights` is the part that
    counts.
    """

    def __init__(self, visible: int, hidden: int) -> None:
        self.visible = visible
        self.hidden = hidden
        self.padded_weights: Floats = zeros((visible, padded(hidden)))
        self.velocity: Floats = zeros((visible, padded(hidden)))
        self._no_correction = Correction(zeros((0, padded(visible))), zeros((0, padded(hidden))))

    @property
    def weights(self) -> Floats:
        """The weights, float32 (visible, hidden); assign through `set_weights`."""
        return self.padded_weights[:, : self.hidden]

    @property
    def velocities(self) -> Floats:
        """The velocities of the weights, float32 (visible, hidden)."""
        return self.velocity[:, : self.hidden]

    def set_weights(self, weights: NDArray[Any]) -> None:
        """Take over weights (visible, hidden)."""
        self.padded_weights[:, : self.hidden] = weights

    def like(self) -> Self:  # noqa: D102
        return type(self)(self.visible, self.hidden)

    def filters(self, visible_shape: tuple[int, ...]) -> Floats:
        """Weights as pictures: each hidden unit's, float32 (hidden, *visible_shape)."""
        return self.patterns().reshape(self.hidden, *visible_shape)

    def patterns(self) -> Floats:  # noqa: D102
        return np.ascontiguousarray(self.weights.T)

    def up(self, visible: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the hidden units, into `out` (rows, ld)."""
        return _total(visible, self.visible, self.padded_weights, self.hidden, bias, out)

    def down(self, hidden: States, bias: Floats, out: Floats) -> Floats:
        """Total inputs of the visible units, into `out` (rows, ld)."""
        return _total(
            hidden, self.hidden, self.padded_weights, self.visible, bias, out, turned=True
        )

    def shift_up(self, units: NDArray[np.int64], change: Floats) -> Floats:
        """By how much the hidden units' total inputs change with some visible states; (rows, ld).

        units: (rows, k), the visible units that change in each row; change: float32 (rows, k).
        """
        return np.einsum("rk,rkh->rh", change, self.padded_weights[units])

    def accumulate(self, phase: Phase, scale: float, gradient: Floats, scratch: Scratch) -> None:
        """Gradient (visible, ld) += scale times visible' hidden, summed over the phase's rows."""
        rows, ld = phase.hidden.shape
        if isinstance(phase.visible, BitStates):
            _kernels.accumulate(
                phase.visible.bits,
                phase.hidden,
                self.hidden,
                scale,
                gradient,
                scratch.flat("listed", self.visible, np.uint32),
                scratch.flat("list index", self.visible * rows, np.uint32),
                scratch.rows("scaled", rows, ld),
            )
        else:
            values = phase.visible.floats()
            _kernels.accumulate_dense(values, phase.hidden, self.hidden, scale, gradient)

    def apply(self, gradient: Floats, rule: Rule) -> bool:
        """One step of the rule; True if the weights are finite."""
        return _kernels.apply(
            self.padded_weights,
            self.velocity,
            self.hidden,
            gradient,
            rule.as_tuple(),
        )

    def gradient(  # noqa: D102
        self, positive: Phase, negative: Phase, scratch: Scratch
    ) -> DenseGradient:
        return DenseGradient(positive, negative, self._no_correction)

    def share(  # noqa: D102
        self, positive: Phase, negative: Phase, whole: tuple[int, int]
    ) -> Floats:
        total: Floats = zeros(self.velocity.shape)
        self._add_means(positive, negative, whole, total, Scratch())
        return total

    def _add_means(
        self,
        positive: Phase,
        negative: Phase,
        whole: tuple[int, int],
        total: Floats,
        scratch: Scratch,
    ) -> None:
        self.accumulate(positive, 1 / whole[0], total, scratch)
        self.accumulate(negative, -1 / whole[1], total, scratch)

    def corrected(  # noqa: D102
        self, gradient: DenseGradient | Floats, correction: Correction
    ) -> DenseGradient | Floats:
        if isinstance(gradient, DenseGradient):
            return gradient._replace(correction=correction)
        _kernels.accumulate_dense(correction.left, correction.right, self.hidden, 1.0, gradient)
        return gradient

    def step(self, gradient: DenseGradient | Floats, rule: Rule, scratch: Scratch) -> bool:
        """One step of the rule; True if all is finite. States of one form take the fused kernel."""
        if not isinstance(gradient, DenseGradient):
            return self.apply(gradient, rule)
        positive, negative, (left, right) = gradient
        rows0, rows1, ld = positive.visible.rows, negative.visible.rows, self.velocity.shape[1]
        if type(positive.visible) is type(negative.visible):
            return _kernels.update(
                self.padded_weights,
                self.velocity,
                self.hidden,
                _phase(positive),
                _phase(negative),
                left,
                right,
                rule.as_tuple(),
                *self._workspace(rows0, rows1, scratch),
            )
        total = scratch.rows("gradient", self.visible, ld)
        total[:] = 0
        self._add_means(positive, negative, (rows0, rows1), total, scratch)
        if len(left):
            _kernels.accumulate_dense(left, right, self.hidden, 1.0, total)
        return self.apply(total, rule)

    def learn(  # noqa: D102
        self,
        positive: Phase,
        negative: Phase,
        rule: Rule,
        below: LayerTerms,
        above: LayerTerms,
        centering: CenteringTerms | None,
        sparsity: SparsityTerms | None,
        scratch: Scratch,
    ) -> bool | None:
        if sparsity is not None or type(positive.visible) is not type(negative.visible):
            return None
        rows0, rows1 = positive.visible.rows, negative.visible.rows
        size = _kernels.learn_floats(
            len(below.bias),
            self.velocity.shape[1],
            rows0 + rows1,
            below.log_sigma is not None,
        )
        return _kernels.learn(
            self.padded_weights,
            self.velocity,
            self.hidden,
            _phase(positive),
            _phase(negative),
            rule.as_tuple(),
            below,
            above,
            centering,
            *self._workspace(rows0, rows1, scratch),
            scratch.flat("vectors", size),
        )

    def _workspace(
        self, rows0: int, rows1: int, scratch: Scratch
    ) -> tuple[NDArray[np.uint32], Floats]:
        """What kernels of learning work in, for phases of so many rows."""
        stacked = (rows0 + rows1 + min(rows0, rows1)) * self.velocity.shape[1]
        length = _kernels.lists_of(self.visible, rows0, rows1)
        return scratch.flat("lists", length, np.uint32), scratch.flat("scaled", stacked)

    def products(
        self, gradient: DenseGradient | Floats, visible: Floats, hidden: Floats
    ) -> Products:
        """From the phases' states: v (h . l) and h (v . m), averaged, and the correction's rows."""
        if not isinstance(gradient, DenseGradient):
            of_matrix = self._matrix_products(gradient, visible, hidden)
            return [(_single(of_matrix[0]), _single(of_matrix[1]))]
        addends = []
        for phase, sign in (
            (gradient.positive, np.float32(1)),
            (gradient.negative, np.float32(-1)),
        ):
            means = FloatStates(phase.hidden, self.hidden)
            up = phase.visible.weighted_mean_by_unit(_single(means.dot(hidden)))
            down = means.weighted_mean_by_unit(_single(phase.visible.dot(visible)))
            addends.append((sign * up, sign * down))
        left, right = gradient.correction
        if len(left):
            rows = zip(left, right, _dots(right, hidden), _dots(left, visible), strict=True)
            parts = [(x[: self.visible] * hy, y[: self.hidden] * vx) for x, y, hy, vx in rows]
            ups, downs = zip(*parts, strict=True)
            addends.append((reduce(np.add, ups), reduce(np.add, downs)))
        return addends

    def change_products(  # noqa: D102
        self, change: Floats, visible: Floats, hidden: Floats
    ) -> tuple[Floats, Floats]:
        return (
            np.einsum("vh,h->v", change, hidden[: self.hidden]),
            np.einsum("vh,v->h", change, visible[: self.visible]),
        )

    def penalty_products(
        self, rule: Rule, visible: Floats, hidden: Floats
    ) -> tuple[Doubles | float, Doubles | float]:
        """(P hidden, P' visible) for the rule's penalties P = decay W + l1 sign(W).

        visible, hidden: float32 (ld,). Returns (visible units,) and (hidden units,), or zeros.
        """
        if not rule.decay and not rule.l1:
            return 0.0, 0.0
        up, down = self._matrix_products(self.padded_weights, visible, hidden)
        up *= rule.decay
        down *= rule.decay
        if rule.l1:
            sign = rule.l1 * np.sign(self.weights)
            up += np.einsum("vh,h->v", sign, hidden[: self.hidden])
            down += np.einsum("vh,v->h", sign, visible[: self.visible])
        return up, down

    def _matrix_products(
        self, matrix: Floats, visible: Floats, hidden: Floats
    ) -> tuple[Doubles, Doubles]:
        """M hidden and M' visible of a matrix of the weights' form."""
        up, down = np.empty(self.visible), np.empty(self.hidden)
        _kernels.dot_rows(matrix, hidden, up)
        _kernels.dot_columns(matrix, self.hidden, visible, down)
        return up, down

    def power_step(self, direction: Floats, most: float = np.inf) -> tuple[float, Floats]:
        """One step of the power iteration for the largest singular value of the weights.

        direction: float32 (ld of hidden,), of length 1. Returns a lower bound of the norm, and the
        next direction. Where the bound exceeds `most`, the weights are shrunk along the direction,
        to `most`, and lose what velocity they have along it.
        """
        up, down = np.empty(self.visible), np.empty(self.hidden)
        _kernels.dot_rows(self.padded_weights, direction, up)
        _kernels.dot_columns(self.padded_weights, self.hidden, to_padded(up), down)
        length = float(np.sqrt(np.square(down).sum()))
        if length == 0:
            return 0.0, direction
        norm = float(np.sqrt(np.square(up).sum()))
        if norm > most:
            along = direction[: self.hidden]
            self.set_weights(self.weights - np.outer((1 - most / norm) * up, along))
            _kernels.dot_rows(self.velocity, direction, up)
            self.velocity[:, : self.hidden] -= np.outer(up, along)
        return norm, to_padded(down / length)

    def start_direction(self) -> Floats:  # noqa: D102
        return to_padded(np.full(self.hidden, self.hidden**-0.5))

    def precise_spectral_norm(self) -> float:  # noqa: D102
        return float(np.linalg.norm(self.weights.astype(np.float64), 2))

    def limit_norms(self, most: float) -> None:
        """Scale down the weights of every hidden unit whose norm exceeds `most`."""
        squares = np.einsum("vh,vh->h", self.weights, self.weights, dtype=np.float64)
        scale = most / np.maximum(np.sqrt(squares), most)
        if scale.min() < 1:
            self.set_weights(self.weights * scale.astype(np.float32))


def _total(
    states: States,
    units: int,
    matrix: Floats,
    width: int,
    bias: Floats,
    out: Floats,
    turned: bool = False,
) -> Floats:
    if isinstance(states, BitStates):
        length = _kernels.lists_length(states.rows, units, out.shape[1], turned)
        lists = np.empty(length, np.uint32)
        _kernels.bit_inputs(states.bits, units, matrix, width, bias, out, lists, turned)
    else:
        _kernels.multiply(states.floats(), units, matrix, width, bias, out, turned)
    return out


def _phase(phase: Phase) -> tuple[NDArray[Any], Floats]:
    """The arrays of a phase, as kernels take them."""
    return array_of(phase.visible), phase.hidden


def _single(values: Doubles) -> Floats:
    return values.astype(np.float32)


def _dots(rows: Floats, vector: Floats) -> Floats:
    out = np.empty(len(rows))
    _kernels.dot_rows(rows, vector, out)
    return _single(out)
