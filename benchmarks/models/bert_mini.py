"""BERT-Mini (Turc et al. 2019) with a classifier: 4 layers of 256, 11 million parameters."""

from __future__ import annotations

from torch import nn

from .encoder import Encoder


def build() -> nn.Module:
    return Encoder(256, 4, classes=2, heads=4)
