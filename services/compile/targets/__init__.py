"""One file per target, imported when the target is tried: a compiler's library may take seconds to load."""

from __future__ import annotations

from importlib import import_module

from ..ports import Compiler

COMPILERS = {
    "eager": "eager:Eager",
    "torchscript": "torchscript:TorchScript",
    "onnxruntime": "onnxruntime:OnnxRuntime",
    "openvino": "openvino:OpenVino",
    "savedmodel": "savedmodel:SavedModel",
    "xla": "xla:Xla",
    "keras-tensorflow": "keras_backends:KerasTensorFlow",
    "keras-torch": "keras_backends:KerasTorch",
    "tensorrt": "tensorrt:TensorRt",
    "torch-tensorrt": "torch_tensorrt:TorchTensorRt",
    "aotinductor": "aotinductor:AotInductor",
    "torch-compile": "torch_compile:TorchCompile",
}
"""In the order of trying: what compiles quickly first, so that it can rule out what takes minutes.

A module with a dot in its name is one of somebody else's: `their.module:Class`.
"""


def compiler(target: str) -> Compiler:
    module, _, name = COMPILERS[target].partition(":")
    found: Compiler = getattr(import_module(module if "." in module else f"{__name__}.{module}"), name)()
    return found
