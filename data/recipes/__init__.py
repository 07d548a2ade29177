"""The recipes that ship with rbmcli: `rbmcli.recipes` where it is installed."""
