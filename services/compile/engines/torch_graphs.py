"""CUDA graphs: a recorded sequence of kernels is launched as one, which is most of a small batch's time.

No GPU was at hand: no test has run the recording. See docs/limits.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import torch_values

_EIGHT = 8


def graphed(call: Callable[..., Any], manifest: Mapping[str, Any]) -> Callable[..., Any]:
    """The call itself unless the manifest names the largest batch to record (`graphs`)."""
    return Graphed(call, manifest["graphs"]) if manifest.get("graphs") else call


def bucket(rows: int) -> int:
    """Batches are padded to it: a power of two up to 8, then a multiple of 8."""
    return 1 << (rows - 1).bit_length() if rows <= _EIGHT else -(-rows // _EIGHT) * _EIGHT


def buckets(largest: int) -> list[int]:
    """All of them up to the one of `largest` rows."""
    return sorted({bucket(rows) for rows in range(1, largest + 1)})


class Graphed:
    """Records one graph per bucket, when it is first used: `start.warm` does, before anybody asks.

    Larger batches run unrecorded, and so do rows of other sizes than the first call's: what is copied into a recorded
    tensor is stretched to its shape without a word. One thread at a time, until the answers are copied: each replay
    writes where the one before did.
    """

    def __init__(self, call: Callable[..., Any], largest: int) -> None:
        self._call = call
        self._largest = bucket(largest)
        self._sizes: list[Any] = []
        self._recorded: dict[int, tuple[Any, list[Any], list[Any]]] = {}
        self._pool: Any = None

    def __call__(self, *arguments: Any) -> Any:
        rows = len(arguments[0])
        sizes = [argument.shape[1:] for argument in arguments]
        self._sizes = self._sizes or sizes
        if rows > self._largest or sizes != self._sizes:
            return self._call(*arguments)
        size = bucket(rows)
        if size not in self._recorded:
            self._recorded[size] = self._record([_padded(a, size) for a in arguments])
        graph, given, answers = self._recorded[size]
        for static, argument in zip(given, arguments, strict=True):
            static[:rows].copy_(argument)
        graph.replay()
        return [answer[:rows] for answer in answers]

    def _record(self, given: list[Any]) -> tuple[Any, list[Any], list[Any]]:
        """After warming up on a stream of its own, as PyTorch's documentation asks."""
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._call(*given)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            answers = torch_values.values(self._call(*given))
        self._pool = self._pool or graph.pool()
        return graph, given, answers


def _padded(tensor: Any, size: int) -> Any:
    """A copy, with its last row again and again: rows that are certainly valid."""
    import torch

    return torch.cat([tensor, tensor[-1:].expand(size - len(tensor), *tensor.shape[1:])])
