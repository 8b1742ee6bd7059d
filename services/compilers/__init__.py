"""One file per target, imported when the target is tried: a compiler's library may take seconds to load."""

from __future__ import annotations

from importlib import import_module

from lockgate.services.ports import Compiler

COMPILERS = {
    "onnxruntime": "lockgate.services.compilers.onnxruntime:OnnxRuntime",
    "eager": "lockgate.services.compilers.eager:Eager",
}


def compiler(target: str) -> Compiler:
    module, _, name = COMPILERS[target].partition(":")
    found: Compiler = getattr(import_module(module), name)()
    return found
