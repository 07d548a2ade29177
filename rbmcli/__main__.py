"""`python -m rbmcli` is `rbm`."""

from __future__ import annotations

import gc
import sys

from rbmcli.cli import signals
from rbmcli.terminal import last_flush


def main() -> None:
    """Run the command line of this process, and exit."""
    # What imports make stays: to look through it for garbage takes a tenth of a short command.
    gc.set_threshold(50_000)
    signals.install(sys.argv[1:])  # before anything else: imports take a while
    try:
        from rbmcli.cli.main import main as command_line

        command_line()
    except signals.Ended as ended:
        status = signals.told(ended)
        last_flush()
        signals.ignore()
        sys.exit(status)


if __name__ == "__main__":
    main()
