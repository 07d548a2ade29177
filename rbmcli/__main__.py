"""`python -m rbmcli` is `rbm`."""

from __future__ import annotations

import atexit
import gc
import os
import sys

from rbmcli.cli import signals
from rbmcli.terminal import last_flush


def main() -> None:
    """Run the command line of this process, and end it."""
    # What imports make stays: to look through it for garbage takes a tenth of a short command.
    gc.set_threshold(200_000)
    arguments = sys.argv[1:]
    signals.install(arguments)  # before anything else: imports take a while
    try:
        if signals.trains(arguments):
            from rbmcli.ahead import unpack

            unpack(arguments)
        from rbmcli.cli.main import main as command_line

        command_line()
    except SystemExit as end:
        if not isinstance(end.code, int):
            raise
        status = end.code
    except signals.Ended as ended:
        status = signals.told(ended)
        signals.ignore()
    last_flush()
    # The interpreter would take a tenth of a short command to take itself apart.
    atexit._run_exitfuncs()
    os._exit(status)


if __name__ == "__main__":
    main()
