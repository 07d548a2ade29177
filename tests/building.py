"""Builds of the C core beside the one that is installed: by another compiler, with other flags."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from rbmcli import _kernels

ROOT = Path(__file__).parent.parent
SOURCES = ("setup.py", "pyproject.toml", "README.md", "LICENSE", "rbmcli", "csrc", "data")


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
    built = shutil.ignore_patterns("*.so", "_kernels.c", "__pycache__")
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
