"""`python -m rbmcli` is `rbm`."""

from __future__ import annotations

import sys

from rbmcli.cli import signals
from rbmcli.terminal import last_flush


def main() -> None:
    """Run the command line of this process, and exit."""
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
