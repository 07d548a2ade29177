"""`python -m rbmcli` is `rbm`."""

from rbmcli.cli.main import main

if __name__ == "__main__":
    main()
