"""An ONNX graph's weights and sums in fp16; its inputs and outputs stay as they are."""

from __future__ import annotations

from pathlib import Path


def halve(path: Path) -> None:
    """In place. Operators that lose too much in fp16 (ONNX Runtime's list) stay in fp32 between casts."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    halved = convert_float_to_float16(onnx.load_model(str(path)), keep_io_types=True)
    onnx.save_model(halved, str(path))
