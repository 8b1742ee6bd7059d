"""What the engines of PyTorch share: inputs as tensors on the device, answers as arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..words import Array, Arrays
from . import feeds

_PIN_FROM = 2**20
"""Bytes. Below it, copying into pinned memory costs more than the copy to the GPU."""


def use(threads: int | None) -> None:
    """Of one call; the setting is the process's."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def tensors(fed: Sequence[Mapping[str, Any]], x: Arrays, device: str = "cpu") -> list[Any]:
    import torch

    found = [torch.from_numpy(_plain(feeds.take(one, x))) for one in fed]
    return found if device == "cpu" else [_moved(tensor, device) for tensor in found]


def _plain(value: Array) -> Array:
    """With the strides of its shape. A single row of every second one has others, and Dynamo would compile for them."""
    return value.reshape(-1).reshape(value.shape)


def _moved(tensor: Any, device: str) -> Any:
    pinned = tensor.pin_memory() if tensor.nbytes >= _PIN_FROM else tensor
    return pinned.to(device, non_blocking=True)


def values(answer: Any) -> list[Any]:
    """In the order in which the source's outputs were named."""
    if isinstance(answer, Mapping):
        return list(answer.values())
    return list(answer) if isinstance(answer, tuple | list) else [answer]


def arrays(outputs: Sequence[Mapping[str, Any]], answer: Any) -> Arrays:
    found: Iterable[Any] = map(_array, values(answer))
    return feeds.name_outputs(outputs, found)


def _array(tensor: Any) -> Any:
    """Numpy has no bfloat16, and clients expect no float16."""
    tensor = tensor.detach().cpu()
    return (tensor.float() if str(tensor.dtype) in ("torch.bfloat16", "torch.float16") else tensor).numpy()
