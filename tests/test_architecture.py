"""The house rules that no type checker sees: imports point down, help and documents are whole."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import click
import pytest

from rbmcli.cli.main import COMMANDS, group

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "rbmcli"
#: From the top of the house to the bottom. The modules outside any room are the ground it stands
#: on, but for __main__, its door.
ROOMS = ("__main__", "cli", "learning", "inference", "model", "io", "pictures", "")
README = (ROOT / "README.md").read_text("utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text("utf-8")


def room(module: str) -> int:
    """The floor, counted from the top, of a module `rbmcli.x.y`."""
    first = module.split(".")[1] if "." in module else ""
    return ROOMS.index(first if first in ROOMS else "")


def imported(path: Path) -> Iterator[str]:
    """What a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.name)
def test_imports_point_down(path):
    module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    own = [name for name in imported(path) if name.startswith("rbmcli.")]
    upward = [name for name in own if room(name) < room(module)]
    assert not upward, f"{module} imports from rooms above it"


def test_help_answers_without_the_heavy_libraries():
    program = "import sys; from rbmcli.cli.main import run; run(['--help']); print(*sys.modules)"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    assert "Commands:" in output
    modules = set(output.splitlines()[-1].split())
    assert not modules & {"h5py", "imageio", "PIL", "rich", "numpy", "rbmcli._kernels"}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by what the user types after `rbm`."""
    ctx = click.Context(group)
    for name in COMMANDS:
        command = group.get_command(ctx, name)
        if isinstance(command, click.Group):
            for inner, subcommand in command.commands.items():
                yield f"{name} {inner}", subcommand
        else:
            yield name, command


@pytest.mark.parametrize("name", dict(commands()))
def test_every_command_explains_itself(name):
    command = dict(commands())[name]
    text = command.get_help(click.Context(command))
    assert re.search(rf"Examples?:\n(.*\n)*.*\brbm {name}\b", text)
    for option in ("--seed", "--threads", "--quiet", "--help"):
        assert option in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_the_readme(name):
    assert f"rbm {name} " in README


def dependencies(*extras: str) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    required = [*project["dependencies"]]
    for extra in extras:
        required += project["optional-dependencies"][extra]
    return {re.match(r"[\w-]+", text).group() for text in required}


def test_dependencies_are_what_is_imported():
    imports = {name.split(".")[0] for path in PACKAGE.rglob("*.py") for name in imported(path)}
    packages = metadata.packages_distributions()
    foreign = imports - sys.stdlib_module_names - {"rbmcli"}
    assert {packages[name][0].lower().replace("_", "-") for name in foreign} == dependencies(
        "mp4", "classifier", "safetensors"
    )


@pytest.mark.parametrize(
    "name", sorted(dependencies("mp4", "safetensors", "fine-tune", "bench", "classifier"))
)
def test_every_dependency_is_accounted_for(name):
    assert f"\n| {name} |" in ARCHITECTURE, f"docs/architecture.md does not say why {name}"


def examples() -> Iterator[str]:
    """Every `rbm` command line shown in the documents and in the help texts."""
    shown = [path.read_text("utf-8") for path in (ROOT / "README.md", *ROOT.glob("docs/*.md"))]
    blocks = [block for text in shown for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    helps = [group.help, *(command.help for _, command in commands())]
    lines = "\n".join([*blocks, *map(str, helps)]).replace("\\\n", "").splitlines()
    for line in dict.fromkeys(line.strip() for line in lines):
        parts = re.split(r" && | \| | > | &$", line)
        yield from (part for part in parts if part.startswith("rbm "))


@pytest.mark.parametrize("line", list(examples()))
def test_examples_are_right_usage(line, tmp_path, monkeypatch):
    words = shlex.split(line, comments=True)[1:]
    monkeypatch.chdir(tmp_path)
    for word in words:
        if re.fullmatch(r"[\w-]+\.(h5|toml|gz)", word):
            Path(word).touch()
    command, ctx = group, click.Context(group)
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        name, *words = words
        command = command.get_command(ctx, name)
        assert command is not None, f"there is no command {name}"
    with suppress(click.exceptions.Exit):  # as --help and --version end
        command.make_context("rbm", words)
