"""The `rbm` command: a group that imports a command's module only when that command is run."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys

import click

from rbmcli import __version__
from rbmcli.cli import signals
from rbmcli.cli.saying import answer
from rbmcli.cli.suggesting import SuggestingGroup
from rbmcli.cli.threads import spare_blas_threads
from rbmcli.errors import RbmError
from rbmcli.files import remedy
from rbmcli.terminal import Stderr, last_flush, say

#: Errors of the system whose remedy is known, wherever they come up.
_MENDABLE = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EROFS)

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


#: What other programs call what these commands do.
SYNONYMS = {
    "train": ("fit", "learn", "pretrain", "resume", "continue", "rbm"),
    "stack": ("dbn", "deep", "grow", "pretrain", "layers"),
    "sample": ("generate", "draw", "dream", "fantasy", "particles", "gibbs", "complete"),
    "evaluate": ("eval", "test", "score", "measure", "validate", "likelihood", "ais"),
    "features": ("transform", "encode", "embed", "extract", "activations", "predict"),
    "render-gif": ("render", "plot", "animate", "gif", "film", "movie", "video", "filters", "draw"),
    "info": ("show", "print", "inspect", "describe", "status", "ls", "cat", "config", "metrics"),
    "export": ("convert", "save", "dump", "weights"),
    "import": ("convert", "load"),
    "data": ("download", "fetch", "get", "dataset", "datasets", "list", "sets"),
}


class LazyGroup(SuggestingGroup):
    """A group whose commands are found in COMMANDS and imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of `cmd_name` and return its command, or None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        spare_blas_threads()
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
    answer(f"rbm {__version__} ({_kernels.isa()}, {threading})")
    ctx.exit()


@click.command(
    cls=LazyGroup, synonyms=SYNONYMS, context_settings={"help_option_names": ["-h", "--help"]}
)
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


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 wrong usage, 75 stopped and resumable.

    128 + n: ended by signal n.
    """
    _open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what it has no letters for is no reason to fail
        sys.stdout.reconfigure(errors="backslashreplace")
    status = run(arguments)
    error = last_flush()
    if error is not None and not isinstance(error, BrokenPipeError) and not status:
        status = _fail(f"standard output: cannot be written ({error.strerror}); {remedy(error)}")
        last_flush()
    elif error is not None:
        status = status or 1
    signals.ignore()
    sys.exit(status)


def run(arguments: list[str] | None = None) -> int:
    """Run the command line on `arguments` (default: the process's own); return the exit status."""
    if arguments is None:
        arguments = sys.argv[1:]
    with signals.handled(arguments):
        try:
            status = _invoke(arguments)
        except signals.Ended as ended:
            return signals.told(ended)
        except (Exception, KeyboardInterrupt) as error:
            # A library may have made another exception of the one that was to unwind it.
            status = signals.told() if signals.unwinding() else _status_of(error)
        signals.over()
    return status


def _invoke(arguments: list[str]) -> int:
    """Run the command; its exceptions are left to the caller, and not to click."""
    if os.environ.get("_RBM_COMPLETE"):  # a shell asks for completions
        group.main(args=arguments, prog_name="rbm")
    try:
        with group.make_context("rbm", list(arguments)) as ctx:
            status = group.invoke(ctx)
    except click.exceptions.Exit as end:
        return end.exit_code
    return status if isinstance(status, int) else 0


def _status_of(error: BaseException) -> int:
    """Say in a line why a command failed, if that can be said, and return its exit status."""
    match error:
        case RbmError():
            return _fail(str(error))
        case click.UsageError():
            return _usage(error)
        case click.ClickException():
            _fail(error.format_message())
            return error.exit_code
        case click.Abort() | KeyboardInterrupt():
            say("rbm: interrupted")
            return signals.BY_SIGNAL + signal.SIGINT
        case ImportError() if "failed to map" in str(error):  # a library, within `ulimit -v`
            return _fail("out of memory as a library was loaded: raise its limit (ulimit -v)")
        case MemoryError():
            return _fail("out of memory: use fewer hidden units, a smaller batch or less data")
        case BrokenPipeError():  # who reads the answer has left: `rbm info run.h5 | head`
            return 1
        case OSError(errno=int()):
            hint = f"; {remedy(error)} and try again" if error.errno in _MENDABLE else ""
            where = f"{error.filename}: " if error.filename else ""
            return _fail(f"{where}{os.strerror(error.errno or 0)}{hint}")
    raise error


def _fail(message: str) -> int:
    say(f"rbm: error: {' '.join(message.split())}")
    return 1


def _usage(error: click.UsageError) -> int:
    """Say how a command is used, and in a line what was wrong."""
    if error.ctx is not None:
        err = Stderr()
        help_option = max(error.ctx.help_option_names, key=len)
        err.write(f"{error.ctx.get_usage()}\n")
        err.write(f"Try '{error.ctx.command_path} {help_option}' for help.\n\n")
    say(f"Error: {error.format_message()}")
    return error.exit_code


def _open_closed_streams() -> None:
    """Open /dev/null for each of stdin, stdout and stderr that the process was started without.

    A file opened later would take the free descriptor, and what libraries print would end in it.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
