"""Builds the C extension. Everything else about the package stands in pyproject.toml."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = sorted(str(path) for path in Path("csrc").glob("*.c"))

PROGRAM = """
#include <omp.h>
int main(void) {
    int threads = 0;
    #pragma omp parallel reduction(+ : threads)
    threads += 1;
    return threads < 1;
}
"""


def openmp_works(compiler: list[str], flags: list[str]) -> bool:
    """Whether a small OpenMP program compiles and links with these flags."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "openmp.c")
        source.write_text(PROGRAM)
        output = str(Path(folder, "openmp"))
        command = [*compiler, *flags, str(source), "-o", output]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


class BuildExtension(build_ext):
    """Adds OpenMP where the compiler has it; without it the kernels run on one thread."""

    def build_extensions(self) -> None:
        flags = ["-fopenmp"]
        if not openmp_works(list(self.compiler.compiler_so[:1]), flags):
            flags = []
            print("warning: no OpenMP with this compiler: rbm will use one thread", file=sys.stderr)
        kernels = next(each for each in self.extensions if each.name == "rbmcli._kernels")
        kernels.extra_compile_args += flags
        kernels.extra_link_args += flags
        super().build_extensions()


# For `make sanitize` and the like; setuptools applies CFLAGS and LDFLAGS as well.
strict = ["-Werror"] if os.environ.get("RBM_STRICT") else []

WARNINGS = ["-std=c11", "-Wall", "-Wextra", *strict]

setup(
    ext_modules=cythonize(
        [
            Extension(
                "rbmcli._guard",
                sources=["rbmcli/_guard.c"],
                extra_compile_args=[*WARNINGS, "-D_DEFAULT_SOURCE", "-D_DARWIN_C_SOURCE"],
            ),
            Extension(
                "rbmcli._kernels",
                sources=["rbmcli/_kernels.pyx", *KERNELS],
                depends=[str(path) for path in Path("csrc").rglob("*.h")],
                include_dirs=["csrc"],
                extra_compile_args=[
                    *WARNINGS,
                    "-O3",
                    # No fused multiply-add but by name, which only some instruction sets have: then
                    # all of them round alike, and a run has the same bits on each.
                    "-ffp-contract=off",
                    "-Wno-psabi",  # wide vectors are never passed between files
                ],
            ),
        ],
    ),
    cmdclass={"build_ext": BuildExtension},
)
