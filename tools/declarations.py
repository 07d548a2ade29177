"""Tells Cython what csrc/rbm_kernels.h declares: writes rbmcli/_core.pxd.

usage: python tools/declarations.py. setup.py runs it before it builds, so that the structures and
functions of the kernels are written down in C alone.

It reads no more of C than the headers make use of: numbers named RBM_... by `#define`, and macros
of that name, whose arguments and values are sizes; enumerations; structures, which stay closed
where another one is inside; functions, and types of functions. Anything else ends the build.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADERS = ("team.h", "rbm_kernels.h")  # the one is included by the other
HEAD = """\
# Made of csrc/rbm_kernels.h by tools/declarations.py.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "rbm_kernels.h" nogil:
"""

MACRO = re.compile(r"#define (RBM_\w+)(\(.*?\))? .*")
STRUCTURE = re.compile(r"typedef struct \{ (.*) \} (\w+)")
CLOSED = re.compile(r"typedef struct (\w+) \1")
ENUMERATION = re.compile(r"enum (\w+) \{ (.*) \}")
FUNCTION_TYPE = re.compile(r"(typedef \w+ \w+\(.*\))")
FUNCTION = re.compile(r"(?:static inline )?((?:const )?\w+ \**\w+\([^{]*\))(?: \{.*)?")
OF_A_TYPE = re.compile(r"(rbm_kernel \w+(?:, \w+)*)")
NAME = r"(?:\*(?:const )?)*\w+(?:\[\w+\])?"  # with its pointers and arrays
FIELD = re.compile(rf"([\w ]+?) ({NAME}(?:, {NAME})*)")


def declarations(text: str) -> Iterator[str]:
    """The lines of Cython that say what a header does; ValueError for what is not understood."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("\\\n", "")
    for line in text.splitlines():
        if found := MACRO.fullmatch(line.strip()):
            name, arguments = found.groups()
            sizes = ", ".join(f"size_t {each}" for each in re.findall(r"\w+", arguments or ""))
            yield f"size_t {name}({sizes})" if arguments else f"enum: {name}"
    for statement in _statements(re.sub(r"^#.*$", "", text, flags=re.MULTILINE)):
        yield from _declaration(statement)


def _statements(text: str) -> Iterator[str]:
    """What ends with a semicolon, or is a function with its body; each in one line."""
    depth = start = 0
    for found in re.finditer(r"[{};]", text):
        depth += {"{": 1, "}": -1, ";": 0}[found.group()]
        statement = " ".join(text[start : found.start()].split())
        of_function = found.group() == "}" and statement.startswith("static inline")
        if depth == 0 and (found.group() == ";" or of_function):
            yield statement
            start = found.end()
    if text[start:].strip():
        raise ValueError(f"a header ends with {text[start:].strip()!r}")


def _declaration(statement: str) -> Iterator[str]:
    if found := STRUCTURE.fullmatch(statement):
        body, name = found.groups()
        yield f"ctypedef struct {name}:"
        yield from (f"    {line}" for line in (["pass"] if "{" in body else _fields(body)))
    elif found := CLOSED.fullmatch(statement):
        yield from (f"ctypedef struct {found[1]}:", "    pass")
    elif found := ENUMERATION.fullmatch(statement):
        yield f"enum {found[1]}:"
        yield from (f"    {name}" for name in re.findall(r"(\w+)(?: = \w+)?(?:,|$)", found[2]))
    elif found := FUNCTION_TYPE.fullmatch(statement):
        yield f"c{found[1]} noexcept nogil"
    elif found := FUNCTION.fullmatch(statement) or OF_A_TYPE.fullmatch(statement):
        yield found[1].replace("(void)", "()")
    elif not statement.startswith("extern "):  # tables, which are asked for by a function
        raise ValueError(f"tools/declarations.py does not understand {statement!r}")


def _fields(body: str) -> Iterator[str]:
    """The fields of a structure, one a line."""
    for field in body.rstrip("; ").split("; "):
        if "(" in field:
            yield f"{field} noexcept nogil"
            continue
        found = FIELD.fullmatch(field.removeprefix("enum "))
        if not found:
            raise ValueError(f"tools/declarations.py does not understand the field {field!r}")
        for name in found[2].split(", "):
            yield f"{found[1]} {name}"


def write(root: Path = ROOT) -> None:
    """Write rbmcli/_core.pxd, unless it is up to date: what is newer is built again."""
    text = HEAD
    for name in HEADERS:
        for line in declarations((root / "csrc" / name).read_text("utf-8")):
            text += f"    {line}\n"
    path = root / "rbmcli" / "_core.pxd"
    if not path.exists() or path.read_text("utf-8") != text:
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    write()
