"""ONNX Runtime, for every flavour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lockgate.registry.words import SourceModel
from lockgate.services.compilers import source

FILE = "model.onnx"
_NEEDS = {
    "pytorch": ("onnx", "onnxruntime", "torch", "onnxscript"),
    "sklearn": ("onnx", "onnxruntime", "sklearn", "skl2onnx"),
    "onnx": ("onnx", "onnxruntime"),
}


class OnnxRuntime:
    target = "onnxruntime"

    def supports(self, model: SourceModel) -> str | None:
        if absent := source.missing(_NEEDS[model.fetched.flavour]):
            return absent
        if type(model.native).__name__ in ("RecursiveScriptModule", "ScriptModule"):
            return "a TorchScript module cannot be exported to ONNX"
        return None

    def compile(self, model: SourceModel, into: Path) -> Mapping[str, Any]:
        with source.quiet():
            feeds = _WRITERS[model.fetched.flavour](model, into / FILE)
        return {
            "engine": "onnxruntime",
            "file": FILE,
            "feeds": feeds,
            "outputs": _outputs(model, into / FILE),
            "providers": ["CPUExecutionProvider"],
            "packages": source.versions(["onnxruntime"]),
        }


def _pytorch(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    from lockgate.services.compilers import torch_onnx

    return torch_onnx.write(model, path)


def _sklearn(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    from lockgate.services.compilers import sklearn_onnx

    return sklearn_onnx.write(model, path)


def _onnx(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    """The model as it is; weights that lay beside it are in memory by now and go into the one file."""
    import onnx

    onnx.save_model(model.native, str(path))
    names = [i.name for i in model.native.graph.input]
    feeds = source.tensors(model)
    for fed, name in zip(feeds, names, strict=True):
        fed["to"] = fed["of"][0] if fed["of"][0] in names else name
    return feeds


_WRITERS = {"pytorch": _pytorch, "sklearn": _sklearn, "onnx": _onnx}


def _outputs(model: SourceModel, path: Path) -> list[dict[str, Any]]:
    """The graph's outputs under the source's names: by name where they are the same, else in order."""
    import onnx

    names = [o.name for o in onnx.load_model(str(path), load_external_data=False).graph.output]
    wanted = source.outputs(model)
    if len(wanted) > len(names):
        raise ValueError(f"the source has {len(wanted)} outputs, the ONNX graph {len(names)}")
    keep_shape = model.fetched.flavour != "sklearn"  # scikit-learn answers (n,) where ONNX answers (n, 1)
    for i, want in enumerate(wanted):
        want["from"] = want["name"] if want["name"] in names else names[i]
        if keep_shape:
            want["row_shape"] = None
    return wanted
