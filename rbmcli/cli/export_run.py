"""`rbm export`: a machine's parameters for other programs."""

from __future__ import annotations

from pathlib import Path

import click

from rbmcli.cli.options import Settings, common_options, force_option, output_option


@click.command()
@click.argument("run_file", metavar="RUN.h5", type=click.Path(path_type=Path))
@output_option("The .npz file to write.")
@force_option
@common_options
def command(run_file: Path, output: Path, force: bool, settings: Settings) -> None:
    """Write the parameters of the machine in RUN.h5 as NumPy arrays.

    FILE.npz holds `weights` (visible x hidden), `visible_bias`, `hidden_bias` and, where they are
    learned, `visible_log_sigma` and `hidden_log_sigma`; and for `rbm import`, `visible_kind`,
    `hidden_kind` and `image_shape`.

    \b
    Example:
      rbm export run.h5 -o weights.npz
      python3 -c "import numpy; print(numpy.load('weights.npz')['weights'].shape)"
    """
    from rbmcli.cli.models import load_model
    from rbmcli.files import check_free
    from rbmcli.io.outputs import save_arrays
    from rbmcli.io.runfile import RunReader
    from rbmcli.io.weights import weights_arrays

    if output.suffix.lower() != ".npz":
        raise click.BadParameter(f"'{output.suffix}' is not .npz", param_hint="'--output'")
    check_free(output, force)
    with RunReader(run_file) as run:
        model = load_model(run)
        kinds = {"visible_kind": model.visible.kind.name, "hidden_kind": model.hidden.kind.name}
        arrays = weights_arrays(model.parameters(), kinds, run.image_shape)
        steps = run.config.get("preprocess")
    save_arrays(output, arrays, force=force)
    if not settings.quiet:
        click.echo(f"{output}: {model.visible.units} x {model.hidden.units} weights", err=True)
        if steps is not None:
            click.echo(
                f"note: the weights are for images after {steps}, which {output} does not hold:"
                " give other programs, and what `rbm import` makes, images preprocessed alike",
                err=True,
            )
