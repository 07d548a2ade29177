"""Data sets known by name: one generated, the others fetched once and kept.

A fetched set lies in a folder of its own under the cache folder, or where a distribution's package
installs it. Files found there are used as they are, so they may also be put there by hand.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path

from rbmcli.errors import RbmError
from rbmcli.io.sources import idx
from rbmcli.io.sources.prepare import Raw

#: Part of a set -> its files of images and of labels. All fetched sets keep MNIST's names.
PARTS = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
FILES = PARTS["train"] + PARTS["test"]
_DIGITS_SEED = 0
#: More than header, name, comment and blocks of gzip can add to what is packed.
_MOST_ADDED = 1 << 18


@dataclass(frozen=True)
class NamedSet:
    """One data set of 28 x 28 grey images.

    counts: the number of images in each part.
    sha256: the checksum of each file; empty for a set that is generated.
    mirrors: web folders that hold the files, tried in turn.
    packaged: the folder where a distribution's package installs the files.
    """

    counts: dict[str, int]
    sha256: dict[str, str] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    packaged: Path | None = None
    image_shape: tuple[int, int] = (28, 28)


def _checksums(*sha256: str) -> dict[str, str]:
    return dict(zip(FILES, sha256, strict=True))


SETS = {
    "digits": NamedSet(counts={"train": 10_000}),
    "mnist": NamedSet(
        counts={"train": 60_000, "test": 10_000},
        sha256=_checksums(
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist",
            "https://storage.googleapis.com/cvdf-datasets/mnist",
        ),
    ),
    "fashion-mnist": NamedSet(
        counts={"train": 60_000, "test": 10_000},
        sha256=_checksums(
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
        mirrors=(
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion",
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        ),
        packaged=Path("/usr/share/datasets/fashion-mnist"),
    ),
    "kmnist": NamedSet(
        counts={"train": 60_000, "test": 10_000},
        sha256=_checksums(
            "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
        ),
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist",
        ),
    ),
}


def is_named(source: str) -> bool:
    """Tell whether `source` names a set, or one part of it: `mnist`, `mnist:test`."""
    return source.partition(":")[0] in SETS


def read(source: str, *, quiet: bool = False) -> Raw:
    """Return images and labels of `NAME` (its training part) or `NAME:PART`, fetched if need be.

    Raises RbmError for an unknown part, a file that cannot be fetched, or a damaged one.
    """
    name, _, part = source.partition(":")
    part = part or "train"
    if part not in SETS[name].counts:
        raise RbmError(f"{source}: no such part; {name} has {', '.join(SETS[name].counts)}")
    if not SETS[name].sha256:
        # Generating needs its own imports, which reading files does not.
        from rbmcli.io.digits import generate

        return Raw(*generate(SETS[name].counts[part], _DIGITS_SEED), labels_from=source)
    folder = fetch(name, PARTS[part], quiet=quiet)
    images, labels = (idx.read(folder / file) for file in PARTS[part])
    return Raw(images, labels, source)


def fetch(name: str, files: tuple[str, ...] = FILES, *, quiet: bool = False) -> Path:
    """Make sure that `files` of the set `name` are at hand, and return the folder they are in.

    Raises RbmError if one can be had from no mirror; nothing is left of it then.
    """
    folder = locate(name, files)
    for file in files:
        if not (folder / file).is_file():
            from rbmcli.io.sources.fetching import fetch_file

            checksum, most = SETS[name].sha256[file], most_bytes(name, file)
            fetch_file(file, checksum, most, folder, mirrors(name), quiet=quiet)
    return folder


def most_bytes(name: str, file: str) -> int:
    """What a file of a set cannot be longer than: its values one by one, and what gzip adds."""
    part = next(part for part, files in PARTS.items() if file in files)
    details = SETS[name]
    size = math.prod(details.image_shape) if file == PARTS[part][0] else 1
    return details.counts[part] * size + _MOST_ADDED


def is_present(name: str) -> bool:
    """Tell whether the whole set can be read without fetching anything."""
    folder = locate(name)
    return all((folder / file).is_file() for file in SETS[name].sha256)


def locate(name: str, files: tuple[str, ...] = FILES) -> Path:
    """Return the folder that holds `files` of the set `name`, or else the one they belong in."""
    folder = _cache() / name
    packaged = SETS[name].packaged
    if packaged is None or all((folder / file).is_file() for file in files):
        return folder
    return packaged if all((packaged / file).is_file() for file in files) else folder


def _cache() -> Path:
    """The folder that sets are kept in; RbmError where it is in a home folder that is not known."""
    import platformdirs

    asked = os.environ.get("RBM_DATA_DIR")
    try:
        return Path(asked or platformdirs.user_cache_dir("rbmcli")).expanduser()
    except (RuntimeError, KeyError):  # there is no HOME, and the user stands in no list of users
        raise RbmError(
            f"{asked or 'the folder of data sets'}: no home folder is known to look for it in:"
            " set HOME, or RBM_DATA_DIR to a folder"
        ) from None


def mirrors(name: str) -> tuple[str, ...]:
    """Return the web folders to fetch the set from; none for a set that is generated."""
    base = os.environ.get("RBM_DATA_URL")
    return (f"{base.rstrip('/')}/{name}",) if base and SETS[name].mirrors else SETS[name].mirrors
