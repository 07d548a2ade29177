"""Builds of the C core beside the one that is installed: by another compiler, with other flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rbmcli import _kernels

ROOT = Path(__file__).parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "rbmcli", "csrc", "data", "tools")


def compiler(name: str) -> str:
    """Where a compiler is; the test is skipped where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def other_compiler() -> str:
    """The one of gcc and clang that has not built the package under test."""
    return compiler("gcc" if b"clang version" in Path(_kernels.__file__).read_bytes() else "clang")


def copy_sources(folder: Path) -> Path:
    """The source tree without what was built in it."""
    built = shutil.ignore_patterns("*.so", "_kernels.c", "_core.pxd", "__pycache__")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=built)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder)
    return folder


def build(folder: Path, variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Build the extensions where their sources are, by setup.py with these variables."""
    pytest.importorskip("Cython", reason="Cython is not installed")
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    without = {"CFLAGS", "CPPFLAGS", "LDFLAGS", "LDSHARED"}
    kept = {name: value for name, value in os.environ.items() if name not in without}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        env=kept | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def build_quickly(tree: Path, folder: Path, flags: Sequence[str] = ()) -> None:
    """Build a copy of the sources by gcc, little optimised, the core with these flags as well.

    What Cython makes of the boundary is built without. folder: for what the compiler makes.
    """
    pytest.importorskip("Cython", reason="Cython is not installed")
    gcc, package, core = compiler("gcc"), tree / "rbmcli", sorted((tree / "csrc").glob("*.c"))
    subprocess.run([sys.executable, tree / "tools" / "declarations.py"], check=True)
    subprocess.run([sys.executable, "-m", "cython", package / "_kernels.pyx"], check=True)
    common = ["-std=c11", "-fPIC", "-g", "-ffp-contract=off", "-Wno-psabi", f"-I{tree / 'csrc'}"]
    common += ["-D_DEFAULT_SOURCE", f"-I{sysconfig.get_path('include')}"]
    of_each: dict[Path, list[str]] = {path: ["-O1", "-fopenmp", *flags] for path in core}
    of_each |= {package / "_kernels.c": ["-O0"], package / "_guard.c": ["-O0"]}
    made = compile_all([gcc, *common], folder, of_each)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    guard = [path for path in made if path.stem == "_guard"]
    kernels = [path for path in made if path.stem != "_guard"]
    for name, objects in {"_guard": guard, "_kernels": kernels}.items():
        output = package / (name + suffix)
        subprocess.run([gcc, "-shared", "-fopenmp", *flags, *objects, "-o", output], check=True)


def compile_all(command: list[str], folder: Path, sources: Mapping[Path, list[str]]) -> list[Path]:
    """Object files of the sources, each compiled with flags of its own; compilers run at once."""

    def compile_one(source: Path) -> Path:
        made = folder / f"{source.stem}.o"
        one = [*command, *sources[source], "-c", str(source), "-o", str(made)]
        done = subprocess.run(one, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return made

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(compile_one, sources))


def require_sanitizer(command: list[str], folder: Path) -> None:
    """Skip the test where a program built so does not link or run, whatever the reason."""
    program, probe = folder / "probe", "int main(void) { return 0; }\n"
    linked = subprocess.run(
        [*command, "-x", "c", "-", "-o", program], input=probe, capture_output=True, text=True
    )
    if linked.returncode or subprocess.run([program], capture_output=True).returncode:
        pytest.skip(f"{Path(command[0]).name} has no working sanitizer of this kind")
