"""Whatever the compiler, a training has the same bits; flags that change them are refused."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from building import ROOT, build, compiler, copy_sources, other_compiler
from commands import write_images

# Of each training a digest of all that its run file holds. The smallest kernels are shared out.
PROGRAM = """
import hashlib, sys
from pathlib import Path
from rbmcli import _kernels
from rbmcli.cli.main import run
sys.path.append(sys.argv[1])
from commands import contents

TRAININGS = {
    "bits": "--hidden 40 --epochs 2 --momentum 0.5 --weight-decay 0.001",
    "chains": "--hidden 40 --epochs 1 --algorithm pcd --no-centering --batch-size 30",
    "reals": "--hidden 30 --epochs 1 --preprocess standardize --visible-kind gaussian "
             "--hidden-kind nrelu --lr 0.001",
    "maps": "--conv 3x3x5 --pool 2 --epochs 1",
}
found, openmp = {}, _kernels.openmp_version() > 0
for isa in sys.argv[3].split(","):
    for threads in map(int, sys.argv[4].split(",")):
        _kernels.use_isa(isa)
        _kernels.share_from(0)
        for name, options in TRAININGS.items():
            assert run(["train", sys.argv[2], "-o", "run.h5", "--force", "--quiet", "--threads",
                        str(threads), "--seed", "7", *options.split()]) == 0
            digest = hashlib.sha256(repr(sorted(contents(Path("run.h5")).items())).encode())
            found[isa, threads, name] = digest.hexdigest()
print((_kernels.__file__, openmp, found))
"""


def trainings(folder: Path, isas: str, threads: str, **variables: str) -> tuple[str, bool, dict]:
    """The file of the kernels, whether they know OpenMP, and a digest of each training."""
    images = write_images(folder / "images.npy", 90)
    output = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, ROOT / "tests", images, isas, threads],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return ast.literal_eval(output)


def isas() -> list[str]:
    """The instruction sets of this machine."""
    program = """
from rbmcli import _kernels
for name in ("baseline", "avx2", "avx512"):
    try:
        _kernels.use_isa(name)
        print(name)
    except ValueError:
        pass
"""
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout
    return output.split()


def has_openmp(name: str) -> bool:
    program = "#include <omp.h>\nint main(void) { return omp_get_max_threads() < 1; }\n"
    command = [name, "-fopenmp", "-x", "c", "-", "-o", os.devnull]
    return not subprocess.run(command, input=program, capture_output=True, text=True).returncode


def test_another_compiler_comes_to_the_same_bits(tmp_path):
    """With warnings as errors, on every instruction set, with 1, 2 and 3 threads."""
    name = other_compiler()
    tree = copy_sources(tmp_path / "tree")
    built = build(tree, {"CC": name, "RBM_STRICT": "1"})
    assert built.returncode == 0, built.stderr
    _, _, expected = trainings(tmp_path, "baseline", "1")
    names = isas()
    file, openmp, found = trainings(tmp_path, ",".join(names), "1,2,3", PYTHONPATH=str(tree))
    assert Path(file).is_relative_to(tree)
    assert openmp == has_openmp(name)
    assert len(found) == len(expected) * len(names) * 3
    for (isa, threads, training), digest in found.items():
        assert digest == expected["baseline", 1, training], f"{training}, {isa}, {threads} threads"


@pytest.mark.parametrize("name", ["gcc", "clang"])
@pytest.mark.parametrize("flag", ["-ffast-math", "-ffinite-math-only"])
def test_fast_math_is_refused(name, flag):
    command = [compiler(name), "-std=c11", "-fsyntax-only", flag, str(ROOT / "csrc" / "states.c")]
    said = subprocess.run(command, capture_output=True, text=True).stderr
    assert re.search(r'error: (#error )?"rbmcli is not built with -ffast-math', said)


def test_every_kernel_is_compiled_with_that_check():
    for path in (ROOT / "csrc").glob("*.c"):
        assert '#include "rbm_kernels.h"' in path.read_text(), path.name


def test_fast_math_in_the_flags_of_a_user_ends_the_build(tmp_path):
    tree = copy_sources(tmp_path / "tree")
    # None of the kernels is needed to see it.
    (tree / "setup.py").write_text(
        (tree / "setup.py").read_text().replace('"rbmcli/_kernels.pyx", ', "")
    )
    built = build(tree, {"CFLAGS": "-O2 -ffast-math"})
    assert built.returncode != 0
    assert (
        "rbmcli is not built with -ffast-math or a part of it: take it out of CFLAGS"
        in built.stderr
    )
