"""A kind of unit costs a file of C, a line in the list of these, and an entry in Python.

So spins (tests/spin/) are added to a copy of the sources. All tests of kinds go by the table, and
are run of spins; what machines of them do, tests/spin/checks.py has.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from building import ROOT, build_quickly, copy_sources

TESTS = ROOT / "tests"


def test_a_kind_is_a_file_a_line_and_an_entry(tmp_path):
    tree = copy_sources(tmp_path / "tree")
    kinds = tree / "csrc" / "units"
    shutil.copy(TESTS / "spin" / "spin.h", kinds)
    with (kinds / "kinds.h").open("a") as file:
        file.write('#include "spin.h"\n')
    build_quickly(tree, tmp_path, ["-Wall", "-Wextra", "-Werror"])

    places = (tree, TESTS, TESTS / "spin")
    program = "from rbmcli import _kernels; print(_kernels.__file__, _kernels.Kind('spin').most)"
    variables = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(map(str, places)),
        "PYTHONSAFEPATH": "1",
    }

    def python(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=TESTS, env=variables, capture_output=True, text=True)

    file, most = python("-c", program).stdout.split()
    assert Path(file).is_relative_to(tree)
    assert most == "1"
    options = ["-q", "-p", "no:cacheprovider", "-p", "spin", "-k", "spin"]
    for tests in ("test_unit_kernels.py", "test_units.py", "spin/checks.py"):
        done = python("-m", "pytest", *options, tests)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
