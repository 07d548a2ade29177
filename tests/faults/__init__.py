"""Faults on purpose: failing writes, kills and broken files, and what the commands make of them.

docs/reliability.md says what is promised and how these programs try it. Each also runs by itself,
from the folder of the project: `python -m tests.faults.sweep --help`.
"""

import sys
from pathlib import Path

# The modules here find each other, and the helpers of the tests, as pytest lets them: from `tests`.
_TESTS = str(Path(__file__).resolve().parent.parent)
if _TESTS not in sys.path:
    sys.path.insert(0, _TESTS)
