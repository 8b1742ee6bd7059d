"""Real compilers whose artifact is then changed: what parity must find in real files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lockgate.services.compile.targets.onnxruntime import OnnxRuntime
from lockgate.services.compile.words import Job, Model


class Changed(OnnxRuntime):
    def compile(self, model: Model, job: Job, into: Path) -> dict[str, Any]:
        import onnx

        manifest = super().compile(model, job, into)
        graph = onnx.load_model(str(into / manifest["file"]))
        self.change(graph.graph, manifest)
        onnx.save_model(graph, str(into / manifest["file"]))
        return manifest

    def change(self, graph: Any, manifest: dict[str, Any]) -> None:
        raise NotImplementedError


class CorruptedWeight(Changed):
    """One value of the first matrix."""

    def change(self, graph: Any, manifest: dict[str, Any]) -> None:  # noqa: ARG002
        import onnx

        held = next(i for i in graph.initializer if len(i.dims) == 2)
        value = onnx.numpy_helper.to_array(held).copy()
        value[0, 0] += 0.5
        held.CopyFrom(onnx.numpy_helper.from_array(value, held.name))


class OtherScaling(Changed):
    """A constant of the preprocessing: the first column's mean."""

    def change(self, graph: Any, manifest: dict[str, Any]) -> None:  # noqa: ARG002
        import onnx

        less = next(n for n in graph.node if n.op_type == "Sub")
        held = next(i for i in graph.initializer if i.name == less.input[1])
        means = onnx.numpy_helper.to_array(held).copy()
        means[0] += 0.1
        held.CopyFrom(onnx.numpy_helper.from_array(means, held.name))


class SwappedOutputs(Changed):
    def change(self, graph: Any, manifest: dict[str, Any]) -> None:  # noqa: ARG002
        a, b = (o["from"] for o in manifest["outputs"])
        manifest["outputs"][0]["from"], manifest["outputs"][1]["from"] = b, a


class OnlyOneRow(Changed):
    """As exported from an example of one row."""

    def change(self, graph: Any, manifest: dict[str, Any]) -> None:  # noqa: ARG002
        for value in (*graph.input, *graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = 1
