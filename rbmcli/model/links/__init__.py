"""How visible and hidden units are connected, one file for each way."""

from rbmcli.model.links.convolutional import ConvolutionalLink, Maps
from rbmcli.model.links.dense import DenseLink
from rbmcli.model.links.link import Biases, CenteringTerms, Correction, Link, Phase, Rule

__all__ = [
    "Biases",
    "CenteringTerms",
    "ConvolutionalLink",
    "Correction",
    "DenseLink",
    "Link",
    "Maps",
    "Phase",
    "Rule",
]
