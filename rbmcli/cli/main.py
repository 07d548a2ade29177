"""The `rbm` command: a group that imports a command's module only when that command is run."""

from __future__ import annotations

import errno
import importlib
import os
import sys

import click

from rbmcli import __version__
from rbmcli.errors import RbmError

#: Command name -> (module under rbmcli.cli holding a click command called `command`, short help).
#: The short help stands here so that `rbm --help` imports none of the modules.
COMMANDS = {
    "train": ("train", "Train a machine and write it to a run file."),
    "stack": ("stack", "Train machines on top of each other: deep belief networks."),
    "sample": ("sample", "Draw fantasy particles from a trained machine."),
    "evaluate": ("evaluate", "Measure how well a machine describes images."),
    "features": ("features", "Write what hidden units make of images, for classifiers."),
    "render-gif": ("render_gif", "Animate the filters of one or several runs."),
    "info": ("info", "Show what a run file holds."),
    "export": ("export_run", "Write weights as NumPy arrays, or for PyTorch."),
    "import": ("import_run", "Make a run file of weights from elsewhere."),
    "data": ("data", "List, fetch and locate the named data sets."),
}


class LazyGroup(click.Group):
    """A group whose commands are found in COMMANDS and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"rbmcli.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    from rbmcli import _kernels

    openmp = _kernels.openmp_version()
    threading = f"OpenMP {openmp}" if openmp else "no OpenMP (one thread)"
    click.echo(f"rbm {__version__} ({_kernels.isa()}, {threading})")
    ctx.exit()


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the version, the instruction set in use and whether OpenMP was found.",
)
def group() -> None:
    """Train Restricted Boltzmann Machines, and watch their filters form.

    \b
    Example:
      rbm train digits --hidden 100 --epochs 10 -o run.h5
      rbm render-gif run.h5 -o filters.gif
    """


def _fail(message: str) -> int:
    click.echo(f"rbm: error: {' '.join(message.split())}", err=True)
    return 1


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 75 stopped and resumable."""
    _open_closed_streams()
    status = run(arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        # What is left cannot be written, and must not be tried again as the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = status or _fail(f"standard output: {error.strerror}")
    sys.exit(status)


def _open_closed_streams() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that the process was started without.

    A file opened later would take the free descriptor, and what libraries print would end in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own); return the exit status."""
    try:
        status = group.main(args=arguments, prog_name="rbm", standalone_mode=False)
    except RbmError as error:
        return _fail(str(error))
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("rbm: interrupted", err=True)
        return 130
    except MemoryError:
        return _fail("out of memory: use fewer hidden units, a smaller batch or less data")
    except OSError as error:  # but for a reader that went away: there click ends the process
        if error.errno is None:
            raise
        hint = "; free some space and try again" if error.errno == errno.ENOSPC else ""
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{os.strerror(error.errno)}{hint}")
    return status if isinstance(status, int) else 0
