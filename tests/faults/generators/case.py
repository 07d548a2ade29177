"""What a generator makes, and the changes of bytes and of JSON that several of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

#: Numbers at the edges of what fields hold, and far beyond.
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**40)
LARGE_EDGES = (2**53, 2**63 - 1, 2**63, 2**64 - 1)


@dataclass(frozen=True)
class Case:
    """Files in a folder, and what is done with them.

    label: what is broken, in a few words. jobs: see `Children.start`; they run in the folder.
    serves: whether all other jobs must be done if the first is, since they use what it made.
    """

    label: str
    jobs: Sequence[Sequence[str]]
    serves: bool = False


@dataclass(frozen=True)
class Place:
    """Where a generator writes, and what it may lead astray to.

    folder: an empty one. corpus: valid files by name. outside: a folder that nothing may read from
    or write to, with "secret.h5", "secret.bin" and "victim".
    """

    folder: Path
    corpus: Path
    outside: Path

    def bring(self, name: str, to: str | None = None) -> Path:
        """Copy a file of the corpus into the folder."""
        path = self.folder / (to or name)
        path.write_bytes((self.corpus / name).read_bytes())
        return path


Generator = Callable[[Random, Place], Case]


@contextmanager
def broken_before(changes: Sequence[str]) -> Iterator[None]:
    """Where a change has broken a file so that no other can be made in it: then that is all."""
    try:
        yield
    except (LookupError, OSError, RuntimeError, TypeError, ValueError, MemoryError):
        if not changes:
            raise


def changed_bytes(rng: Random, content: bytes) -> tuple[bytes, str]:
    """Content with a few bytes changed, and how: more often near its beginning, where headers are.

    The result may be longer or shorter.
    """
    data, changes = bytearray(content), []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            break
        span = min(len(data), 512) if rng.random() < 0.6 else len(data)
        place = rng.randrange(span)
        change = rng.choice(tuple(_CHANGES))
        _CHANGES[change](rng, data, place)
        changes.append(change)
    return bytes(data), changes[0] if len(set(changes)) == 1 else "several changes"


def _flip(rng: Random, data: bytearray, place: int) -> None:
    data[place] ^= 1 << rng.randrange(8)


def _number(rng: Random, data: bytearray, place: int) -> None:
    size = rng.choice((1, 2, 4, 8))
    number = rng.choice(EDGES + LARGE_EDGES) % (1 << 8 * size)
    data[place : place + size] = number.to_bytes(size, rng.choice(("little", "big")))


def _cut_out(rng: Random, data: bytearray, place: int) -> None:
    del data[place : place + rng.randrange(1, 40)]


def _cut_off(rng: Random, data: bytearray, place: int) -> None:
    del data[place:]


def _put_in(rng: Random, data: bytearray, place: int) -> None:
    data[place:place] = bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20)))


def _repeat(rng: Random, data: bytearray, place: int) -> None:
    data[place:place] = data[place : place + rng.randrange(1, 200)]


def _fill(rng: Random, data: bytearray, place: int) -> None:
    size = min(rng.randrange(1, 64), len(data) - place)
    data[place : place + size] = bytes([rng.choice((0, 0xFF))]) * size


def _add(rng: Random, data: bytearray, place: int) -> None:
    data.extend(bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))))


_CHANGES: dict[str, Callable[[Random, bytearray, int], None]] = {
    "a bit flipped": _flip,
    "a number changed": _number,
    "bytes cut out": _cut_out,
    "cut off": _cut_off,
    "bytes put in": _put_in,
    "bytes repeated": _repeat,
    "bytes overwritten": _fill,
    "bytes added": _add,
}

#: What JSON can hold where something else is expected; a few are texts that options take.
JSON_VALUES: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 3, 2**31, 2**63, 10**30, 1.5, -0.5, 1e308, float("nan"), float("inf")),
    *("", "x", "nan", "8x8", "3x3x3", "5x3x3", "99999x9999x9999", "100:3x3", "0.1:0", "1@0,2@3"),
    *("bernoulli", "gaussian", "gaussian:learned", "gaussian:nan", "softmax:1", "softmax:1024"),
    *("binomial:255", "nrelu", "cd", "pcd", "pt", "standardize", "contrast,zca", "1" * 5000),
    *("\x1b]0;title\x07\x1b[31m", "\ud800", "a\nb", "\x00", "è" * 300, "../../x", "."),
    *([], [1], ["5"], ["a", "a"], ["conv=4x3x3,pool=9"], ["5,kind=zzz", ","], {}, {"a": 1}),
    [[[[[]]]]],
)


def changed_json(rng: Random, value: Any, names: Sequence[str]) -> Any:
    """A value of JSON with something in it changed, removed or added.

    names: of entries that may be added to an object.
    """
    if isinstance(value, dict) and value and rng.random() < 0.95:
        key, changed = rng.choice(sorted(value)), dict(value)
        match rng.randrange(8):
            case 0:
                del changed[key]
            case 1 | 2:
                changed[rng.choice(names)] = rng.choice(JSON_VALUES)
            case 3 | 4 if isinstance(value[key], dict | list):
                changed[key] = changed_json(rng, value[key], names)
            case _:
                changed[key] = rng.choice(JSON_VALUES)
        return changed
    if isinstance(value, list) and value and rng.random() < 0.8:
        changed_list = list(value)
        changed_list[rng.randrange(len(value))] = rng.choice(JSON_VALUES)
        return changed_list
    return rng.choice(JSON_VALUES)


#: Texts that are no JSON, or JSON that is hard to bear.
JSON_TEXTS = (
    *("", "x", "{", '{"a":', "null", "[]", '"x"', "1e999", "NaN", "9" * 5000, "[" * 100_000),
    *('{"a":' * 900 + "1" + "}" * 900, "[" * 900 + "]" * 900, '{"seed": 1e999}', '{"\\ud800": 1}'),
)
