"""BERT-base with a classifier: 12 layers of 768, 110 million parameters."""

from __future__ import annotations

from torch import nn

from .encoder import Encoder


def build() -> nn.Module:
    return Encoder(768, 12, classes=2)
