"""Texts that are read: configurations in TOML, and metrics logs that a resumed run goes on with."""

from __future__ import annotations

import json
from functools import cache
from random import Random
from typing import Any

import click

from faults.generators.case import JSON_TEXTS, JSON_VALUES, Case, Place, changed_bytes
from rbmcli.cli.train import command as train

_SOUND = (
    'hidden = 5\nlr = "0.1:0.001"\nmomentum = "0.5@0,0.9@5"\nonly = [1, 2]\n'
    'centering = true\nvisible-kind = "bernoulli"\n[table]\nx = 1\n'
)
#: As they stand in TOML.
_VALUES = (
    *("1", "0", "-1", "1e308", "nan", "inf", "-inf", '""', '"x"', "true", "[]", "[1]", "{}"),
    *('["a", 1, true]', "{a = 1}", "1979-05-27T07:32:00Z", "9" * 5000, "0x" + "f" * 400, '"-"'),
    *('"\\u0000"', '"8x8"', '"gaussian"', '"0.1:0"', '"1@0,2@3"', '"bernoulli"', '"contrast,zca"'),
    *('"1e999"', '"5:3x3"', '"' + "9" * 3000 + '"', '"digits"', '"7x3x3"', "[" * 2000, "1_0"),
    *("[" * 900 + "]" * 900, '"' + "1@0," * 300 + '"', '"1_0"', '"٣"', '"0.5@0,0.9@1e400"'),
    *('"\x1b[31m"', '"a\\nb"', '"/"', '"images.npy"', '"mnist"'),
)


@cache
def _options() -> tuple[str, ...]:
    names = [name for x in train.params if isinstance(x, click.Option) for name in x.opts]
    # Where and how long is written is no matter of reading a text.
    left_out = ("metrics", "config", "recipe", "output", "max-time", "threads")
    options = {name.lstrip("-") for name in names if name.startswith("--")}
    return tuple(sorted(options - set(left_out)))


def toml(rng: Random, place: Place) -> Case:
    """A configuration: options with any values, or bytes changed."""
    place.bring("images.npy")
    if rng.random() < 0.75:
        lines = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            name = rng.choice(_options())
            if rng.random() < 0.08:
                name = rng.choice(("a.b", "", '"""', "ключ", '"\x1b[31m"', "_", "hidden "))
            lines.append(f"{name} = {rng.choice(_VALUES)}\n")
        content, label = "".join(lines).encode(), "values"
    else:
        content, label = changed_bytes(rng, _SOUND.encode())
    (place.folder / "options.toml").write_bytes(content)
    words = ["train", "images.npy", "--config", "options.toml", "-o", "out.h5", "--epochs", "1"]
    words += ["--limit", "20", "--hidden", "4", "-q", "--max-time", "2s", "--threads", "1"]
    return Case(label, [["rbm", *words, *rng.choice(([], ["--no-centering"]))]])


def metrics_log(rng: Random, place: Place) -> Case:
    """The log of a run that was stopped, changed before the run is resumed."""
    place.bring("images.npy")
    place.bring("stopped.h5", "run.h5")
    log = place.bring("stopped.jsonl", "log.jsonl")
    content, label = log.read_bytes(), "sound"
    match rng.randrange(4):
        case 0:
            content, label = changed_bytes(rng, content)
        case 1:
            rows: list[Any] = [json.loads(line) for line in content.splitlines()]
            rows[rng.randrange(len(rows))][rng.choice(sorted(rows[0]))] = rng.choice(JSON_VALUES)
            content, label = "".join(f"{json.dumps(row)}\n" for row in rows).encode(), "a value"
        case 2:
            line = rng.choice(JSON_TEXTS).encode("utf-8", "surrogatepass")
            content, label = rng.choice((content + line, line + b"\n" + content)), "a line"
        case _:
            label = rng.choice(("a folder", "a link away", "empty", "not text"))
            content = b"\xff\xfe\x00" * 50 if label == "not text" else b""
    log.write_bytes(content)
    if label in ("a folder", "a link away"):
        log.unlink()
        if label == "a folder":
            log.mkdir()
        else:
            log.symlink_to("missing/log.jsonl")
    words = ["train", "images.npy", "--resume", "-o", "run.h5", "-q", "--threads", "1"]
    return Case(label, [["rbm", *words, "--max-time", "1h", "--metrics", "log.jsonl"]])
