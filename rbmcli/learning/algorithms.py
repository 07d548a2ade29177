"""The table of training algorithms."""

from __future__ import annotations

from rbmcli.learning.algorithm import Algorithm
from rbmcli.learning.cd import ContrastiveDivergence
from rbmcli.learning.fpcd import FastPersistentChains
from rbmcli.learning.pcd import PersistentChains
from rbmcli.learning.pt import ParallelTempering

#: What `--algorithm` chooses from.
ALGORITHMS: dict[str, type[Algorithm]] = {
    "cd": ContrastiveDivergence,
    "pcd": PersistentChains,
    "fpcd": FastPersistentChains,
    "pt": ParallelTempering,
}
