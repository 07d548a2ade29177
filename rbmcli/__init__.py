"""rbmcli: Restricted Boltzmann Machines from the shell."""

import os

__version__ = "0.1.0"

# GNU OpenMP lets waiting threads spin for milliseconds. On a machine that others use too, they then
# keep the thread they wait for from running: training took up to ten times as long. This many spins
# still bridge the gaps between our parallel loops. Read once, when the library is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "4000")

# The threads of numpy's matrix products spin as well, for a tenth of a second after they are made:
# they sleep at once. As above.
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
