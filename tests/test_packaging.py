"""What is shipped: all packages, the recipes, the types, and no sources of the extension."""

from __future__ import annotations

import sys
import sysconfig
import tomllib
from importlib import metadata, resources
from pathlib import Path

import pytest

import rbmcli
from rbmcli.cli.configuration import recipe_names

ROOT = Path(__file__).parent.parent

installed = pytest.mark.skipif(
    not sys.flags.safe_path, reason="the source tree may be tested (`make test` sees to it)"
)


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    there = [".".join(p.parent.relative_to(ROOT).parts) for p in ROOT.glob("rbmcli/**/__init__.py")]
    assert sorted(listed["packages"]) == sorted([*there, "rbmcli.recipes"])


@installed
def test_every_recipe_ships():
    files = {path.stem: path.read_text("utf-8") for path in (ROOT / "data/recipes").glob("*.toml")}
    assert recipe_names() == sorted(files)
    for name, text in files.items():
        assert resources.files("rbmcli.recipes").joinpath(f"{name}.toml").read_text() == text


@installed
def test_the_installed_package_is_tested():
    assert Path(rbmcli.__file__).is_relative_to(sysconfig.get_path("platlib"))
    assert metadata.version("rbmcli") == rbmcli.__version__


@installed
def test_types_ship_and_extension_sources_do_not():
    names = {path.name for path in metadata.files("rbmcli")}
    assert {"py.typed", "_kernels.pyi"} <= names
    assert not {name for name in names if name.endswith((".pyx", ".pxd", ".c", ".h"))}
