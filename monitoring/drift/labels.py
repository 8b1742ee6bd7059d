"""How labels were distributed: a bin for each frequent one, the rare ones together in a few bins by their hash.

Which labels get a bin of their own is chosen by the counts of the reference, which would make each of them look rarer
in later rows than in the reference; so only those do whose count chance moves by little, or all where there are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from zlib import crc32

import numpy as np

from lockgate.monitoring.drift.columns import Array, cut, digest

_FEW = 20
"""So few labels have a bin each."""
_SHARE, _ROWS = 0.01, 50
"""What a label must have, both, to get a bin of its own where there are more."""
_POOLED = 10
MOST_KNOWN = 1000
"""Columns with more distinct labels are text."""
_NAMED = 80
"""Characters of a name; a longer label's ends with a digest of the whole."""


@dataclass(frozen=True, slots=True)
class Labels:
    """`counts`: rows of each label in `names`, then of the `pooled` bins of all other labels, by hash.

    `digests`: of the labels that were seen and have no name here; where `closed` is false, not all are known.
    `once`: rows whose label no other row has: how often a label is seen for the first time.
    """

    names: tuple[str, ...]
    pooled: int
    counts: tuple[int, ...]
    digests: tuple[str, ...] = ()
    closed: bool = True
    once: int = 0
    of: Literal["labels"] = "labels"

    def place(self, codes: Array, labels: Sequence[str]) -> Array:
        """(rows,) the bin of each label, given as its place in `labels`."""
        index = {name: i for i, name in enumerate(self.names)}
        bins = [index.get(cut(label, _NAMED), len(index) + _hashed(label, self.pooled)) for label in labels]
        return np.array(bins, np.int64)[codes]

    def unknown(self, labels: Sequence[str]) -> Array:
        """(labels,) whether the reference has no such label."""
        named, known = set(self.names), set(self.digests)
        return np.array([cut(label, _NAMED) not in named and _digest(label) not in known for label in labels], bool)


def labels_of(codes: Array, labels: Sequence[str]) -> Labels:
    """Of a category: `codes` are places in `labels`, none of them missing."""
    counts = np.bincount(codes, minlength=len(labels)).tolist()
    seen = sorted(((n, label) for n, label in zip(counts, labels, strict=True) if n), key=lambda of: (-of[0], of[1]))
    least = 0 if len(seen) <= _FEW else max(_ROWS, _SHARE * len(codes))
    names = tuple(dict.fromkeys(cut(label, _NAMED) for n, label in seen if n >= least))
    rare = sorted(_digest(label) for n, label in seen if n < least)
    once = sum(n == 1 for n, _ in seen)
    return _counted(Labels(names, _POOLED if rare else 1, (), tuple(rare), once=once), codes, labels)


def hashed(codes: Array, labels: Sequence[str], bins: int) -> Labels:
    """Of labels of which new ones come all the time, as words do: by hash alone."""
    return _counted(Labels((), bins, (), closed=False), codes, labels)


def classes(codes: Array, labels: tuple[str, ...]) -> Labels:
    """Of labels that are all there can be."""
    return _counted(Labels(labels, 1, (), closed=False), codes, labels)


def _counted(bare: Labels, codes: Array, labels: Sequence[str]) -> Labels:
    counts = np.bincount(bare.place(codes, labels), minlength=len(bare.names) + bare.pooled)
    return Labels(bare.names, bare.pooled, tuple(counts.tolist()), bare.digests, bare.closed, bare.once)


def _hashed(label: str, bins: int) -> int:
    return crc32(label.encode()) % bins


def _digest(label: str) -> str:
    return digest(label, 4)
