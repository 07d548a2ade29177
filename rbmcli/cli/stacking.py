"""Training the layers of a stack one by one, each from where the run file left it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rbmcli.arrays import Floats
from rbmcli.cli.datasets import TrainingData
from rbmcli.cli.journal import Journal, in_pixels, preprocessing_state
from rbmcli.cli.models import load_machine
from rbmcli.cli.resuming import restored
from rbmcli.cli.stack_options import LayerOptions, PhaseOptions, StackOptions
from rbmcli.cli.training import Course, new_machine, new_trainer
from rbmcli.draws import Draws
from rbmcli.errors import RbmError
from rbmcli.io.runfile import RunReader
from rbmcli.io.runwriter import RunWriter
from rbmcli.io.schema import UP_DOWN, layer_key
from rbmcli.io.section import damage_of
from rbmcli.io.table import Table
from rbmcli.learning.inputs import Examples, Inputs, Labelled, activations
from rbmcli.learning.loop import Loop
from rbmcli.learning.up_down import UpDown
from rbmcli.model.layer import Layer
from rbmcli.model.links import Maps
from rbmcli.model.rbm import Rbm, check_transpose
from rbmcli.model.stack import Stack
from rbmcli.model.units import Softmax, unit_kind


def classes_of(data: TrainingData, source: str) -> int:
    """How many label units the labels of the images need; RbmError where they cannot have any."""
    if data.labels is None:
        raise RbmError(f"{source}: has no labels, which --label-units learns; give --labels FILE")
    least, most = int(data.labels.min()), int(data.labels.max())
    if least < 0 or most >= Softmax.kernels.most:
        raise RbmError(
            f"{source}: labels from {least} to {most}, but label units count classes from 0 to"
            f" {Softmax.kernels.most - 1} at most; number the classes from 0 on"
        )
    classes = max(most + 1, 2)
    if data.validation is not None:
        if data.validation_labels is None:
            raise RbmError(
                "--validation: its images have no labels, which --label-units needs; hold out a"
                " fraction, or name a set that has them"
            )
        if data.validation_labels.min() < 0 or data.validation_labels.max() >= classes:
            raise RbmError(
                f"--validation: labels from {data.validation_labels.min()} to"
                f" {data.validation_labels.max()}, but those of {source} are from 0 to {most}"
            )
    return classes


def check_sizes(layers: Sequence[LayerOptions], image_shape: tuple[int, ...]) -> list[str]:
    """Notices about the layers' sizes; RbmError for a layer that does not fit what is below it."""
    notices: list[str] = []
    shape = shape_below = image_shape
    for number, options in enumerate(layers):
        try:
            if options.start == "transpose" and number:
                _check_transpose(layers[number - 1], options, math.prod(shape_below))
            shape_below, shape = shape, _fed_shape(options, shape, number, notices)
        except RbmError as error:
            raise RbmError(f"layer {number}: {error}" if number else str(error)) from None
    return notices


def _fed_shape(
    options: LayerOptions, shape: tuple[int, ...], number: int, notices: list[str]
) -> tuple[int, ...]:
    """The shape of what a layer on units of this shape feeds the next one."""
    if options.conv is None:
        assert options.hidden is not None
        return (options.hidden * unit_kind(options.hidden_kind).group,)
    maps = Maps.over(shape, options.conv.shape, options.pool, planar=number == 0)
    left = maps.height - maps.connected[0], maps.width - maps.connected[1]
    if any(left):
        notices.append(
            f"layer {number}: its filters of {options.conv.size.text} and blocks of"
            f" {options.pool}x{options.pool} leave out the last {left[0]} rows and {left[1]}"
            f" columns of the {maps.height}x{maps.width} below"
        )
    return (
        maps.hidden_height // options.pool,
        maps.hidden_width // options.pool,
        maps.filters,
    )


def _check_transpose(below: LayerOptions, options: LayerOptions, units: int) -> None:
    """RbmError unless a layer can start as the transpose of the one below, on so many units."""
    if options.conv is not None or below.conv is not None:
        raise RbmError("only layers without --conv can start as the transpose of each other")
    assert options.hidden is not None
    kinds = [(unit_kind(x.visible_kind), unit_kind(x.hidden_kind)) for x in (below, options)]
    check_transpose(kinds[0], units, kinds[1], options.hidden * kinds[1][1].group)


class Stacking:
    """The training of a stack.

    classes: for as many the top layer has label units, 0 for none.
    """

    def __init__(
        self,
        course: Course,
        writer: RunWriter,
        data: TrainingData,
        classes: int,
        options: StackOptions,
    ) -> None:
        self._course = course
        self._writer = writer
        self._data = data
        self._classes = classes
        self._options = options
        self._machines: list[Rbm] = []

    def train(self) -> str | None:
        """Train what is not trained yet; return the reason if it stopped early."""
        for options in self._options.layers:
            reason = self._train_layer(len(self._machines), options)
            if reason is not None:
                return reason
        phase = self._options.phase
        return None if phase is None else self._train_together(phase)

    def _train_layer(self, number: int, options: LayerOptions) -> str | None:
        """Train a layer, or take it as it is if it is finished, and put it on those before."""
        data, seed, key = self._data, self._course.settings.seed, layer_key(number)
        below = self._machines[-1] if self._machines else None
        stored = key in self._writer.sections
        if stored and (machine := self._finished(number, below)) is not None:
            self._machines.append(machine)
            return None
        if stored:
            self._check_form(number, options)
        labels = self._classes if options is self._options.layers[-1] else 0
        shape = data.image_shape if below is None else below.hidden.fed_shape
        model = new_machine(options, shape, labels, planar=below is None)
        trainer = new_trainer(
            model,
            self._inputs(data.training, data.labels, model, options, number),
            data.validation
            and self._inputs(data.validation, data.validation_labels, model, options, number),
            options,
            seed,
            number,
            self._options.label_weight,
        )
        self._machines.append(model)
        stack = Stack(self._machines)
        if not stored:
            trainer.initialize(below if options.start == "transpose" else None)
            config = options.config(seed) | ({"classes": labels} if labels else {})
            self._begin(key, stack.filters(number).shape, config)
        constants = {} if number else preprocessing_state(data.preprocessing)
        journal = self._journal(
            key, trainer, options, lambda: stack.filters(number), constants, restore=stored
        )
        return self._course.train(trainer, journal, options.epochs, {"layer": number})

    def _train_together(self, options: PhaseOptions) -> str | None:
        """Train all layers at once, by up-down."""
        data, stored = self._data, UP_DOWN in self._writer.sections
        if stored and self._is_finished(UP_DOWN):
            return None
        stack = Stack(self._machines).untied()
        validation = None
        if data.validation is not None:
            validation = Examples(data.validation, data.validation_labels)
        loop = UpDown(
            stack,
            Examples(data.training, data.labels),
            validation,
            options.hyperparameters(self._options.label_weight),
            self._course.settings.seed,
        )
        if not stored:
            self._begin(UP_DOWN, stack.filters(0).shape, options.config())
        journal = self._journal(
            UP_DOWN, loop, options, lambda: stack.filters(0), {}, restore=stored
        )
        return self._course.train(loop, journal, options.epochs, {"phase": "up-down"})

    def _begin(self, key: str, shape: tuple[int, ...], config: dict[str, Any]) -> None:
        self._writer.begin(key, snapshot_shape=shape, config=config)

    def _journal(
        self,
        key: str,
        loop: Loop,
        options: LayerOptions | PhaseOptions,
        filters: Callable[[], Floats],
        constants: dict[str, Any],
        *,
        restore: bool,
    ) -> Journal:
        """The journal of a section; of one that the file has, the loop is put where it left off."""
        seconds = restored(self._course.output, key, loop, filters().shape) if restore else None
        return Journal(
            loop,
            self._writer.section(key),
            options.snapshot_every,
            options.checkpoint_every,
            lambda: in_pixels(filters(), self._data.preprocessing, self._data.image_shape),
            constants,
            seconds,
        )

    def _is_finished(self, key: str) -> bool:
        with RunReader(self._course.output) as run:
            return run.sections[key].finished

    def _check_form(self, number: int, options: LayerOptions) -> None:
        """RbmError where a layer of the file is not the one that is to be gone on with."""
        wanted = options.config(self._course.settings.seed)
        with RunReader(self._course.output) as run, damage_of(run.path):
            stored = run.layers[number].config
            for name in ("hidden", "conv", "pool", "visible-kind", "hidden-kind"):
                if stored.get(name) != wanted.get(name):
                    raise ValueError(
                        f"layer {number} has {name} {stored.get(name)}, the run {wanted.get(name)}"
                    )

    def _finished(self, number: int, below: Rbm | None) -> Rbm | None:
        """The machine of a layer, if its training has ended."""
        stands_on = self._data.image_shape if below is None else below.hidden
        with RunReader(self._course.output) as run:
            section = run.layers[number]
            if not section.finished:
                return None
            self._course.log.begin({"layer": number}, Table(section.metrics))
            return load_machine(section, stands_on)

    def _inputs(
        self,
        images: Inputs,
        labels: NDArray[np.int64] | None,
        model: Rbm,
        options: LayerOptions,
        number: int,
    ) -> Inputs:
        """What the layer learns from."""
        draws = Draws(self._course.settings.seed, number)
        inputs = activations(images, self._machines, options.input == "samples", draws)
        if not model.classes:
            return inputs
        assert labels is not None
        features = Layer(unit_kind(options.visible_kind), model.feature_shape)
        return Labelled(inputs, features, labels, model.classes)
