"""How visible and hidden units are connected, one file for each way."""

from rbmcli.model.links.convolutional import ConvolutionalLink, Maps
from rbmcli.model.links.dense import DenseLink
from rbmcli.model.links.link import (
    CenteringTerms,
    Correction,
    LayerTerms,
    Link,
    Phase,
    Rule,
    SparsityTerms,
)

__all__ = [
    "CenteringTerms",
    "ConvolutionalLink",
    "Correction",
    "DenseLink",
    "LayerTerms",
    "Link",
    "Maps",
    "Phase",
    "Rule",
    "SparsityTerms",
]
