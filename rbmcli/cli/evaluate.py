"""`rbm evaluate`: how good a trained machine or stack is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from rbmcli.cli.options import (
    Settings,
    channels_option,
    common_options,
    follow_links_option,
    json_option,
)
from rbmcli.cli.parameters import LayerType
from rbmcli.cli.saying import answer, say, to_json
from rbmcli.errors import RbmError

if TYPE_CHECKING:
    from rbmcli.learning.batch import Images

# The defaults of rbmcli.inference, which this file must not import for `rbm evaluate --help`.
_AIS_CHAINS, _TEMPERATURES = 100, 14_500
_RAISE_IMAGES, _RAISE_CHAINS = 500, 1


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@click.argument("source")
@click.option("--exact/--estimated", default=None,
              help="Sum over every state of a layer to get log Z, or fail; or estimate it by AIS."
              "  [default: exact where there are at most 2^25 states]")  # fmt: skip
@click.option("--ais-chains", type=click.IntRange(min=2), default=_AIS_CHAINS, show_default=True,
              help="Chains of annealed importance sampling.")  # fmt: skip
@click.option("--ais-temperatures", type=click.IntRange(min=2), default=_TEMPERATURES,
              show_default=True,
              help="Inverse temperatures of AIS and RAISE, from 0 to 1.")  # fmt: skip
@click.option("--raise-images", type=click.IntRange(min=0), default=_RAISE_IMAGES,
              show_default=True, help="Images, evenly spread over SOURCE, whose likelihood is"
              " estimated from below by RAISE; 0: none.")  # fmt: skip
@click.option("--raise-chains", type=click.IntRange(min=1), default=_RAISE_CHAINS,
              show_default=True, help="Chains of RAISE for each image.")  # fmt: skip
@click.option("--bound-samples", type=click.IntRange(min=1), default=1, show_default=True,
              help="Draws of the hidden units of each image, over which the bound on a stack's"
              " likelihood is averaged.")  # fmt: skip
@click.option("--greedy", is_flag=True,
              help="Measure a stack as it was before up-down.")  # fmt: skip
@click.option("--labels", metavar="FILE",
              help="Labels of SOURCE, for label units and classifiers.  [default: those beside the"
              " images]")  # fmt: skip
@click.option("--label-samples", type=click.IntRange(min=0), default=0, show_default=True,
              help="Sampled ways up that the label units' probabilities are averaged over; 0: the"
              " means go up.")  # fmt: skip
@click.option("--classifier", metavar="SOURCE",
              help="Train logistic regression on the features of these images, and test it on the"
              " command's.")  # fmt: skip
@click.option("--classifier-labels", metavar="FILE",
              help="Labels of --classifier.  [default: those beside the images]")  # fmt: skip
@click.option("--layer", type=LayerType(), metavar="INDEX|all",
              help="The layer whose hidden units are the classifier's features, from 0, or all."
              "  [default: the top one]")  # fmt: skip
@click.option("--binarize", type=click.Choice(["sample", "threshold", "none"]),
              help="How values become states.  [default: as in the run]")  # fmt: skip
@channels_option
@follow_links_option
@click.option("--limit", type=click.IntRange(min=1), help="Keep the first so many images.")
@json_option
@common_options
def command(
    run_file: Path,
    source: str,
    exact: bool | None,
    ais_chains: int,
    ais_temperatures: int,
    raise_images: int,
    raise_chains: int,
    bound_samples: int,
    greedy: bool,
    labels: str | None,
    label_samples: int,
    classifier: str | None,
    classifier_labels: str | None,
    layer: int | Literal["all"] | None,
    binarize: str | None,
    channels: str | None,
    follow_links: bool,
    limit: int | None,
    as_json: bool,
    settings: Settings,
) -> None:
    """Measure how well the machine in RUN.h5 describes the images of SOURCE.

    All numbers are means over the images, in nats but for the reconstruction error. Where log Z
    cannot be had exactly it is estimated by AIS, which flatters the machine if its chains mix
    badly; RAISE errs to the other side. The truth is likely between.

    Of a stack, the likelihood is bounded from below (by the variational bound, whose log Z is that
    of the top machine). Label units and classifiers are given the images' values as they are, and
    their errors are fractions of the images.

    \b
    Examples:
      rbm evaluate run.h5 mnist:test
      rbm evaluate run.h5 mnist:test --limit 1000 --raise-images 100 --json
      rbm evaluate stack.h5 mnist:test --classifier mnist --layer all
    """
    import numpy as np

    from rbmcli.cli import facts, measuring
    from rbmcli.cli.datasets import as_seen, tell
    from rbmcli.cli.models import load_stack
    from rbmcli.cli.threads import use_threads
    from rbmcli.inference.classifier import check_available
    from rbmcli.inference.exact import check_exact
    from rbmcli.inference.features import chosen_layers
    from rbmcli.io.runfile import RunReader
    from rbmcli.io.schema import UP_DOWN

    if classifier is None and (classifier_labels is not None or layer is not None):
        raise click.UsageError("--classifier-labels and --layer go with --classifier")
    if classifier is not None:
        check_available()
    use_threads(settings.threads)
    effort = measuring.Effort(
        exact, ais_chains, ais_temperatures, raise_images, raise_chains, bound_samples
    )
    with RunReader(run_file) as run:
        if greedy and UP_DOWN not in run.sections:
            raise RbmError(
                f"{run_file}: had no up-down, so it is greedy already; leave out --greedy"
            )
        stack = load_stack(run, greedy=greedy)
        if exact:
            check_exact(stack.top)
        layers = chosen_layers(run_file, stack, layer)
        if labels is not None and classifier is None and not stack.top.classes:
            raise RbmError(
                f"{run_file}: has no label units that labels could be compared with; leave out"
                " --labels, or train a classifier with --classifier"
            )
        how, image_layer = binarize or run.config["binarize"], stack.image_layer
        images = as_seen(
            run, source, image_layer, np.arange, how,
            channels=channels, follow_links=follow_links, quiet=settings.quiet, limit=limit,
            labels=labels,
        )  # fmt: skip
        training = None
        if classifier is not None:
            _check_labels(images, source, "--labels")
            training = as_seen(
                run, classifier, image_layer, np.arange, how,
                channels=channels, follow_links=follow_links, quiet=settings.quiet,
                labels=classifier_labels,
            )  # fmt: skip
            _check_labels(training, classifier, "--classifier-labels")

    single = len(stack.machines) == 1 and not stack.top.classes
    hidden = [machine.hidden.kind.name for machine in stack.machines]
    found: measuring.Facts = {
        "images": len(images.rows),
        "kinds": {"visible": image_layer.kind.name, "hidden": hidden[0] if single else hidden},
        "binarize": images.binarize,
        "binarized": facts.how_binarized(image_layer.kind, images.binarize, settings.seed),
        "seed": settings.seed,
    }
    # What the user may have to mend comes first: the likelihood takes long.
    of_classes: measuring.Facts = {"label_error": None} if stack.top.classes else {}
    if stack.top.classes and images.labels is not None:
        of_classes |= measuring.label_facts(stack, images, source, label_samples, settings)
    for each in filter(None, (images, training)):
        tell(each, settings.quiet)
    if stack.top.classes and images.labels is None:
        say(f"no label error: {source} has no labels; name some with --labels")
    if training is not None:
        of_classes |= measuring.classifier_facts(stack, layers, training, images, settings)
    if single:
        found |= measuring.machine_facts(stack.top, images, effort, settings)
    else:
        found |= measuring.stack_facts(stack, images, effort, settings)
    found |= of_classes
    answer(to_json(found) if as_json else "\n".join(facts.lines(found)))


def _check_labels(images: Images, source: str, option: str) -> None:
    """RbmError where there are no labels."""
    if images.labels is None:
        raise RbmError(
            f"{source}: has no labels, which a classifier needs; name some with {option}"
        )
