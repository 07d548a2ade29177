"""From the options about data to images: those of a run, and the same once more for its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from rbmcli.ahead import Ahead
from rbmcli.cli.models import load_preprocessing
from rbmcli.cli.options import Settings
from rbmcli.cli.saying import say
from rbmcli.draws import Draws, Purpose
from rbmcli.errors import RbmError
from rbmcli.io.augmentation import Augmentation
from rbmcli.io.batches import split
from rbmcli.io.preprocessing import Preprocessing
from rbmcli.io.runfile import RunReader
from rbmcli.io.sizes import Filters, Patches, Size
from rbmcli.io.sources.dataset import Dataset
from rbmcli.learning.batch import Images
from rbmcli.learning.doubts import doubts
from rbmcli.model.layer import Layer
from rbmcli.model.links import Maps
from rbmcli.model.units import unit_kind

if TYPE_CHECKING:
    from rbmcli.cli.training_options import TrainOptions


#: Images that tell what images are like.
_MANY = 1000


@dataclass(frozen=True)
class TrainingData:
    """What a run is trained and measured on, as its machine sees it, and what was done to it.

    labels: int64, by the row numbers of `training`, where there are any; validation_labels
    likewise. channels: "first" or "last" of the dimensions of an image, in arrays of several.
    told_of: where they are from, but for `also`; with a checksum, which takes a while.
    """

    training: Images
    validation: Images | None
    labels: NDArray[np.int64] | None
    validation_labels: NDArray[np.int64] | None
    image_shape: tuple[int, ...]
    channels: str
    preprocessing: Preprocessing | None
    told_of: Ahead[dict[str, Any]]
    also: dict[str, Any]

    @property
    def provenance(self) -> dict[str, Any]:
        """What a run file says of them."""
        return {**self.told_of.result(), **self.also}


def read(
    source: str, options: TrainOptions, settings: Settings, resumed: Path | None
) -> TrainingData:
    """The training and validation images that the options ask for.

    resumed: a run file that goes on; its preprocessing is taken over if the options ask for it.
    """
    from rbmcli.io.sources import open_source
    from rbmcli.io.sources.borders import noted, padded, trimmed

    draws = Draws(settings.seed)

    def load(name: str, channels: str | None, **selection: Any) -> tuple[Dataset, Images]:
        dataset = open_source(
            name,
            whiten=bool(options.whiten),
            patches=options.patches,
            crop=options.crop,
            channels=channels,
            follow_links=options.follow_links,
            seed=settings.seed,
            **selection,
        )
        dataset = padded(dataset, options.pad or 0)
        crop = options.crop
        if options.conv is not None:
            shape = dataset.image_shape if crop is None else (crop.height, crop.width)
            used = _used(name, options.conv, options.pool, shape)
            if crop is None:
                dataset = trimmed(dataset, used)
            elif crop != used:
                dataset, crop = noted(dataset, f"crops of {crop.text}", used), used
        shape, per_image = dataset.image_shape, options.crops_per_image or 1
        augmentation = Augmentation.of(shape, crop, options.flip, draws, name, per_image)
        rows, labels = np.arange(len(dataset.images)), dataset.labels
        if augmentation is not None:
            rows = augmentation.rows(rows)
            labels = None if labels is None else labels.repeat(per_image)
        pixels, scale = dataset.images, dataset.scale
        return dataset, Images(pixels, scale, rows, options.binarize, augmentation, labels=labels)

    dataset, training = load(
        source,
        options.channels,
        labels=options.labels,
        only=options.only,
        limit=options.limit,
    )
    datasets, validation = [dataset], None
    image_shape = _shape(dataset, training)
    told_of, also = Ahead(dataset.provenance), dict[str, Any]()
    if options.validation is not None:
        fraction = _fraction(options.validation)
        if fraction is not None:
            rows, held_out = split(len(dataset.images), fraction, draws)
            if not len(rows) or not len(held_out):
                raise RbmError(
                    f"--validation {options.validation}: {len(dataset.images)} images leave none"
                    " to train on or none to measure; choose another fraction"
                )
            if training.augmentation is not None:  # what of an image is learned is not held out
                rows, held_out = map(training.augmentation.rows, (rows, held_out))
            also["validation"] = {"fraction": fraction}
            training, validation = replace(training, rows=rows), replace(training, rows=held_out)
        else:
            other, validation = load(
                options.validation, _channels(dataset.channels, dataset.image_shape)
            )
            if _planes(_shape(other, validation)) != _planes(image_shape):
                raise RbmError(
                    f"{options.validation}: images of shape {_shape(other, validation)}, but those"
                    f" of {source} are {image_shape}"
                )
            datasets.append(other)
            also["validation"] = other.provenance()
    if not settings.quiet:
        for notice in (notice for each in datasets for notice in each.notices):
            _note(notice)
    preprocessing = None
    if options.preprocess is not None:
        stored = None if resumed is None else _stored(resumed, options.preprocess, image_shape)
        preprocessing = stored or _fitted(training, options.preprocess, settings)
        training = training.preprocessed(preprocessing)
        validation = None if validation is None else validation.preprocessed(preprocessing)
    kind = unit_kind(options.visible_kind)
    steps = filter(None, ("whitening" if options.whiten else None, options.preprocess))
    done = "".join(f" after {step}" for step in steps)
    training = training.for_kind(kind, source + done)
    counts = training.are_counts if kind.may_be_counts else None
    if counts is not None:
        also["counts"] = counts
    if validation is not None:
        validation = validation.for_kind(kind, datasets[-1].source + done, counts)
    told = [line for each in datasets for line in each.lines(counts=training.are_counts)]
    told += [f"note: {doubt}" for doubt in doubts(training, kind, source)]
    return TrainingData(
        replace(training, told=tuple(told)),
        validation,
        training.labels,
        None if validation is None else validation.labels,
        image_shape,
        dataset.channels,
        preprocessing,
        told_of,
        also,
    )


def tell(images: Images, quiet: bool) -> None:
    """Print what was read, once it is known that it can be used."""
    for line in () if quiet else images.told:
        say(line)


def starts(
    run: RunReader,
    source: str | None,
    visible: Layer,
    count: int | None,
    seed: int,
    *,
    channels: str | None = None,
    follow_links: bool = False,
    quiet: bool,
) -> Images:
    """`count` images drawn by `seed` from another source or the run's own, as `as_seen`.

    None for as many as tell what images are like. RbmError where the run's own are not those that
    it was trained on.
    """
    config = run.config
    own: dict[str, Any] = {}
    if source is None and "source" not in run.data:
        raise RbmError(
            f"{run.path}: was imported without data; name images with --source, or use"
            " --start random"
        )
    if source is None:
        source = str(run.data["source"])
        own = {name: config[name] for name in ("labels", "only", "limit") if name in config}
        own["expected"] = run.data

    def pick(images: int) -> NDArray[np.int64]:
        generator = Draws(seed).generator(Purpose.SAMPLE)
        if count is None:
            return generator.permutation(images)[:_MANY]
        return generator.choice(images, count)

    quiet = quiet or bool(own)
    return as_seen(
        run,
        source,
        visible,
        pick,
        config["binarize"],
        channels=channels,
        quiet=quiet,
        follow_links=follow_links,
        **own,
    )


def as_seen(
    run: RunReader,
    source: str,
    visible: Layer,
    pick: Callable[[int], NDArray[np.int64]],
    binarize: str,
    *,
    channels: str | None,
    quiet: bool,
    expected: Mapping[str, Any] | None = None,
    **selection: Any,
) -> Images:
    """Images of a source as the machine of a run sees them, for its visible layer.

    They are whitened, cut to patches, cropped (in the centre) and preprocessed as those of the run;
    labels come along, where there are any. Notices are printed unless `quiet`.
    pick: the numbers of the images wanted, given how many there are. channels: as in the run where
    it is None. expected: where the source is known from the run file alone, what that says of it.
    selection: as `open_source` takes it.
    """
    from rbmcli.io.sources import open_source
    from rbmcli.io.sources.borders import padded, trimmed

    config = run.config
    patches = Patches.parse(config["patches"]) if "patches" in config else None
    crop = Size.parse(config["crop"]) if "crop" in config else None
    try:
        dataset = open_source(
            source,
            whiten=bool(config.get("whiten")),
            patches=patches,
            crop=crop,
            channels=channels or _channels(config.get("channels", "first"), run.image_shape),
            seed=config.get("seed", 0),
            **selection,
        )
    except RbmError as error:
        if expected is None:
            raise
        raise RbmError(
            f"{run.path}: what it was trained on cannot be read ({error}): name images with"
            " --source"
        ) from None
    if not quiet:
        for notice in dataset.notices:
            _note(notice)
    dataset = padded(dataset, config.get("pad", 0))
    first = run.layers[0].config
    whole = isinstance(dataset.images, np.ndarray) and dataset.images.shape[1] == visible.units
    augmentation = None
    if crop is not None and not whole:
        crop = Size(*run.image_shape[-2:])
        shape = dataset.image_shape
        augmentation = Augmentation.of(shape, crop, False, Draws(config.get("seed", 0)), source)
    elif "conv" in first and dataset.image_shape != run.image_shape:
        filters = Filters.parse(first["conv"])
        used = _used(dataset.source, filters, first["pool"], dataset.image_shape)
        dataset = trimmed(dataset, used)
    if expected is not None:
        _check_same(run, dataset, expected)
    rows = pick(len(dataset.images))
    images = Images(
        dataset.images, dataset.scale, rows, binarize, augmentation, labels=dataset.labels
    )
    shape = _shape(dataset, images)
    units = int(np.prod(shape))
    if units != visible.units:
        raise RbmError(
            f"{dataset.source}: images of {units} values, but the machine has"
            f" {visible.units} visible units; give images of the size it was trained on"
        )
    planes = [_planes(shape), _planes(run.image_shape)]
    if planes[0] != planes[1] and ("conv" in first or min(map(len, planes)) > 1):
        hint = ""
        if sorted(planes[0]) == sorted(planes[1]) and len(planes[0]) == 3:
            hint = f", or say --channels {'first' if dataset.channels == 'last' else 'last'}"
        raise RbmError(
            f"{dataset.source}: images of shape {shape}, but the machine was trained on"
            f" {run.image_shape} ((channels,) height, width); give images of that shape{hint}"
        )
    preprocessing = load_preprocessing(run)
    if preprocessing is not None:
        images = images.preprocessed(preprocessing)
    images = images.for_kind(visible.kind, dataset.source, run.data.get("counts"))
    return replace(images, told=tuple(dataset.lines(counts=images.are_counts)))


def _note(notice: str) -> None:
    say(f"note: {notice}")


def _check_same(run: RunReader, dataset: Dataset, expected: Mapping[str, Any]) -> None:
    """RbmError where a source named by a run file alone has not the content that it had."""
    found = dataset.provenance()
    of_content = ["shape", "dtype", "sha256", "largest"]
    if run.config.get("only") or run.config.get("label-units"):
        of_content.append("labels_sha256")
    if any(found.get(name) != expected.get(name) for name in of_content):
        raise RbmError(
            f"{run.path}: {dataset.source} has changed since the run was trained on it: name"
            " images with --source"
        )


def _channels(known: str, image_shape: tuple[int, ...]) -> str | None:
    """How to read other images than those of a shape; None where that shape does not tell."""
    return known if len(image_shape) > 2 else None


def _planes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape but for sizes of 1, which say nothing of where a value is."""
    return tuple(size for size in shape if size != 1)


def _used(source: str, filters: Filters, pool: int, shape: tuple[int, ...]) -> Size:
    """How much of images of a shape a convolution can use; RbmError where it is nothing."""
    try:
        return Size(*Maps.over(shape, filters.shape, pool, planar=True).connected)
    except RbmError as error:
        raise RbmError(f"{source}: {error}") from None


def _shape(dataset: Dataset, images: Images) -> tuple[int, ...]:
    """Shape of an image as it is used."""
    return dataset.image_shape if images.augmentation is None else images.augmentation.shape


def _stored(resumed: Path, steps: str, image_shape: tuple[int, ...]) -> Preprocessing | None:
    """What the run's images went through; None if not these steps, which is refused soon."""
    with RunReader(resumed) as run:
        same = run.config.get("preprocess") == steps and run.image_shape == image_shape
        return load_preprocessing(run) if same else None


def _fitted(training: Images, steps: str, settings: Settings) -> Preprocessing:
    if not settings.quiet:
        say(f"fitting {steps} to {len(training.rows)} images")
    return Preprocessing.fit(steps.split(","), training.for_fitting(), Draws(settings.seed))


def _fraction(text: str) -> float | None:
    """The text as a fraction, or None if it names a source."""
    try:
        fraction = float(text)
    except ValueError:
        return None
    if not 0 < fraction < 1:
        raise click.BadParameter(f"{text} is not between 0 and 1", param_hint="'--validation'")
    return fraction
