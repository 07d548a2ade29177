"""Builds the C extensions. Everything else about the package stands in pyproject.toml."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
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

# Python hands on the flags that it was built with, mostly by GCC. What clang says of those that it
# has no use for is nothing that a warning should be about, or with RBM_STRICT an error.
NO_USE = ["unused-command-line-argument", "ignored-optimization-argument", "unknown-warning-option"]


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """What a command does and says; one that is not there fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def is_clang(command: list[str]) -> bool:
    return "clang" in run([*command, "--version"]).stdout


def without_unknown(command: list[str]) -> list[str]:
    """The command without those of Python's own flags that clang refuses; the user's stay."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "empty.c")
        source.write_text("int empty;\n")
        said = run([*command, "-c", str(source), "-o", str(Path(folder, "empty.o"))]).stderr
    unknown = set(re.findall(r"unknown argument:? '([^']+)'", said))
    unknown -= {
        word for name in ("CFLAGS", "CPPFLAGS") for word in shlex.split(os.environ.get(name, ""))
    }
    return [word for word in command if word not in unknown]


def openmp_flags() -> Iterator[tuple[list[str], list[str]]]:
    """What compilers may want for OpenMP, to compile and to link."""
    yield ["-fopenmp"], ["-fopenmp"]
    if sys.platform == "darwin":
        # Apple's clang knows OpenMP without its driver saying so, and comes without libomp.
        # Homebrew keeps that where no compiler looks, MacPorts in a folder of its own.
        yield ["-Xpreprocessor", "-fopenmp"], ["-lomp"]
        homes = [os.environ.get("HOMEBREW_PREFIX", ""), "/opt/homebrew", "/usr/local"]
        places = [
            (f"{home}/opt/libomp/include", f"{home}/opt/libomp/lib") for home in homes if home
        ]
        for headers, library in [*places, ("/opt/local/include/libomp", "/opt/local/lib/libomp")]:
            if Path(headers, "omp.h").exists():
                yield ["-Xpreprocessor", "-fopenmp", f"-I{headers}"], [f"-L{library}", "-lomp"]


def openmp_works(
    compiler: list[str], linker: list[str], compile_flags: list[str], link_flags: list[str]
) -> bool:
    """Whether a small OpenMP program compiles and links as the extension will."""
    with tempfile.TemporaryDirectory() as folder:
        source, made, linked = (str(Path(folder, name)) for name in ("a.c", "a.o", "a.so"))
        Path(source).write_text(PROGRAM)
        return not (
            run([*compiler, *compile_flags, "-c", source, "-o", made]).returncode
            or run([*linker, made, *link_flags, "-o", linked]).returncode
        )


def each_by_itself(compile_all: Callable[..., list[str]]) -> Callable[..., list[str]]:
    """Compile sources beside each other, as many at once as there are processors."""

    def compile_each(sources: list[str], **options: object) -> list[str]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            parts = list(pool.map(lambda source: compile_all([source], **options), sources))
        return [name for part in parts for name in part]

    return compile_each


class BuildExtension(build_ext):
    """Adds OpenMP where the compiler has it; without it the kernels run on one thread."""

    def build_extensions(self) -> None:
        compiler = self.compiler
        if is_clang(compiler.compiler_so):
            compiler.compiler_so = [
                *without_unknown(compiler.compiler_so),
                *(f"-Wno-{name}" for name in NO_USE),
            ]
            compiler.linker_so = without_unknown(compiler.linker_so)
        kernels = next(each for each in self.extensions if each.name == "rbmcli._kernels")
        for compile_flags, link_flags in openmp_flags():
            if openmp_works(compiler.compiler_so, compiler.linker_so, compile_flags, link_flags):
                kernels.extra_compile_args += compile_flags
                kernels.extra_link_args += link_flags
                break
        else:
            print("warning: no OpenMP with this compiler: rbm will use one thread", file=sys.stderr)
        compiler.compile = each_by_itself(compiler.compile)
        super().build_extensions()


# For `make sanitize` and the like; setuptools applies CFLAGS and LDFLAGS as well.
strict = ["-Werror"] if os.environ.get("RBM_STRICT") else []

# What the kernels' header declares, for the Cython module.
subprocess.run([sys.executable, "tools/declarations.py"], check=True)

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
                    # -ffast-math is refused (csrc/rbm_kernels.h); parts of it that compilers do
                    # not tell of are undone.
                    "-fno-unsafe-math-optimizations",
                    # No fused multiply-add but by name, which only some instruction sets have:
                    # then all of them round alike, and a run has the same bits on each.
                    "-ffp-contract=off",
                    "-Wno-psabi",  # wide vectors are never passed between files
                ],
            ),
        ],
    ),
    cmdclass={"build_ext": BuildExtension},
)
