"""Which arrays of a file belong together, by their names.

A name says what an array is (images, labels), and of which part of the data (train, test): `x_test`
and `y_test`, `test/images` and `test/labels`, `XTrain` and `YTrain` belong together, whatever the
order of the words. Labels of another part are worse than none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

#: Letters of a word that two words may be fused in.
_LONGEST = 24

_IMAGES = {
    *("x", "xs", "image", "images", "img", "imgs", "data", "feature", "features", "pixel"),
    *("pixels", "input", "inputs", "sample", "samples", "picture", "pictures"),
}
#: In the order in which they are taken where several stand beside the images.
_LABELS = ("labels", "label", "y", "targets", "target", "ys", "lbls", "lbl", "classes", "class")
#: Words for a part of the data, and the one that each is the same as.
_PARTS = {
    **dict.fromkeys(("train", "training", "trn", "tr"), "train"),
    **dict.fromkeys(("test", "testing", "tst", "te", "t10k"), "test"),
    **dict.fromkeys(("valid", "validation", "val", "vl"), "valid"),
    **dict.fromkeys(("dev", "development"), "dev"),
    **dict.fromkeys(("eval", "evaluation"), "eval"),
    **dict.fromkeys(("holdout", "heldout"), "holdout"),
    **dict.fromkeys(("unlabeled", "unlabelled", "unsup"), "unlabeled"),
    "extra": "extra",
}


class Words(NamedTuple):
    """What a name says. parts: of the data; others: words that say neither that nor what it is."""

    parts: frozenset[str]
    others: tuple[str, ...]
    label: str | None

    @property
    def of(self) -> tuple[frozenset[str], tuple[str, ...]]:
        """What the array is about."""
        return self.parts, self.others


@lru_cache(maxsize=4096)
def words(name: str) -> Words:
    """The words of a name, of its folders as well.

    What an array is, its own name says before those of its folders.
    """
    parts: set[str] = set()
    others: list[str] = []
    labels: list[str] = []
    for word in _split(name):
        if word in _PARTS:
            parts.add(_PARTS[word])
        elif word in _LABELS:
            labels.append(word)
        elif word not in _IMAGES:
            others.append(word)
    own = _split(name.rpartition("/")[2])
    if not _IMAGES.isdisjoint(own) and set(_LABELS).isdisjoint(own):
        labels = []
    return Words(frozenset(parts), tuple(sorted(others)), labels[-1] if labels else None)


def is_label(name: str) -> bool:
    """Whether a name says that the array holds labels."""
    return words(name).label is not None


def labels_of(images: str, names: Sequence[str]) -> tuple[str | None, str | None]:
    """(the array of labels that belongs to one of images, why there is none where that is odd).

    images: one of `names`, those of all arrays in the file. The reason is None where there are no
    labels in the file at all.
    """
    labels = [name for name in names if name != images and is_label(name)]
    if not labels:
        return None, None
    wanted = words(images)
    same = [name for name in labels if words(name).of == wanted.of]
    if same:
        return min(same, key=lambda name: (_group(name) != _group(images), _rank(name))), None
    beside = [name for name in labels if _group(name) == _group(images)]
    # Where there is nothing else, the only labels are those of the only images.
    alone = [n for n in names if _group(n) == _group(images) and not is_label(n)] == [images]
    told = [name for name in beside if not _clash(wanted, words(name))]
    if alone and told:
        plain = [name for name in told if words(name).of == words(_group(name)).of]
        if plain or len(told) == 1:
            return min(plain or told, key=_rank), None
    listed = ", ".join(labels[:4]) + (", ..." if len(labels) > 4 else "")
    return None, f"no labels are used: it cannot be told that {listed} belong to {images}"


def labels_among(names: Sequence[str], images: str) -> str | None:
    """Which of a file's arrays are the labels of images named elsewhere; None if it is not clear.

    names: of all arrays in the file. images: what the user named, a file or one of its arrays.
    """
    labels = [name for name in names if is_label(name)]
    if not labels and len(names) == 1:
        return names[0]
    wanted = words(images)
    same = [name for name in labels if words(name).parts == wanted.parts]
    plain = [name for name in same if not words(name).others] or same
    if len(plain) == 1 or (plain and len({words(name).of for name in plain}) == 1):
        return min(plain, key=_rank)
    if not same and len(labels) == 1 and not _clash(wanted, words(labels[0])):
        return labels[0]
    return None


def _clash(images: Words, labels: Words) -> bool:
    """Whether both name a part, and another one."""
    return bool(images.parts and labels.parts and images.parts != labels.parts)


def _rank(name: str) -> int:
    label = words(name).label
    return _LABELS.index(label) if label is not None else len(_LABELS)


def _group(name: str) -> str:
    return name[: name.rfind("/") + 1]


def _split(name: str) -> list[str]:
    """Lower-case words: at marks, at capitals, between letters and digits, and where parts end."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    found: list[str] = []
    for word in re.findall(r"[^\W\d_]+|\d+", name.lower().replace("t10k", "test")):
        found += _fused(word)
    return found


def _fused(word: str) -> list[str]:
    """`xtest` and `testlabels` are two words each."""
    roles = _IMAGES | set(_LABELS)
    if len(word) > _LONGEST:
        return [word]
    if word in roles or word in _PARTS:
        return [word]
    for cut in range(1, len(word)):
        pair = word[:cut], word[cut:]
        if (pair[0] in roles and pair[1] in _PARTS) or (pair[0] in _PARTS and pair[1] in roles):
            return list(pair)
    return [word]
