"""rbmcli: Restricted Boltzmann Machines from the shell."""

__version__ = "0.1.0"
