from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lockgate.registry.client import quiet_import
from lockgate.registry.errors import Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust

X = np.random.default_rng(3).normal(size=(4, 3)).astype("float32")


def graph(rows: str | int = "n", inputs: tuple[str, ...] = ("X",)) -> Any:
    """The sum of the inputs, as `total`."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, 3]) for name in inputs]
    nodes = [helper.make_node("Sum", list(inputs), ["total"])]
    out = [helper.make_tensor_value_info("total", TensorProto.FLOAT, [rows, 3])]
    made = helper.make_model(helper.make_graph(nodes, "g", given, out), opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 10
    return made


def signature(example: Any) -> Any:
    return quiet_import("mlflow.models").infer_signature(example, {"total": X})


def load(shelf: Any, version: str) -> Any:
    registry = shelf.registry()
    return load_source(registry.fetch(registry.resolve("fraud", version)), Trust())


def test_a_graph_answers_by_its_output_names(shelf: Any) -> None:
    source = load(shelf, shelf.log("onnx", graph(), input_example=X, signature=signature(X)))

    assert (source.storage, source.file) == ("onnx", "model.onnx")
    assert isinstance(source.native, onnx.ModelProto)
    np.testing.assert_array_equal(source.run({"input": X})["total"], X)
    check_batches(source)


def test_several_inputs_go_by_the_graphs_names(shelf: Any) -> None:
    example = {"b": X, "a": 2 * X}
    version = shelf.log("onnx", graph(inputs=("a", "b")), input_example=example, signature=signature(example))
    source = load(shelf, version)

    np.testing.assert_allclose(source.run(source.fetched.example)["total"], 3 * X)


def test_names_that_the_graph_does_not_have_are_refused(shelf: Any) -> None:
    example = {"b": X, "c": X}
    version = shelf.log("onnx", graph(inputs=("a", "b")), input_example=None, signature=signature(example))
    (shelf.files(version) / "input_example.json").write_text('{"b": [[1, 2, 3]], "c": [[1, 2, 3]]}')
    path = shelf.files(version) / "MLmodel"
    path.write_text(
        path.read_text() + "saved_input_example_info:\n  artifact_path: input_example.json\n  type: ndarray\n"
    )

    with pytest.raises(Unusable, match="names the inputs b, c, but its graph takes a, b"):
        load(shelf, version)


def test_columns_fill_a_lone_matrix(shelf: Any, table: Any) -> None:
    version = shelf.log("onnx", graph(), input_example=table[0][:5], signature=signature(table[0]))
    source = load(shelf, version)

    expected = table[0][:5].to_numpy().astype("float32")
    np.testing.assert_array_equal(source.run(source.fetched.example)["total"], expected)
    check_batches(source)


def test_a_fixed_batch_is_refused_with_what_to_do(shelf: Any) -> None:
    source = load(shelf, shelf.log("onnx", graph(rows=4), input_example=X, signature=signature(X)))

    with pytest.raises(Unusable, match=r"for 1 row it raises InvalidArgument.*dynamic first dimension"):
        check_batches(source)


def test_a_zipmap_becomes_a_table(shelf: Any, classifier: Any, table: Any) -> None:
    from skl2onnx import to_onnx

    values = table[0].to_numpy().astype("float32")
    converted = to_onnx(classifier, values[:1], target_opset=17)
    version = shelf.log("onnx", converted, input_example=values[:5], signature=signature(values))
    answer = load(shelf, version).run({"input": values})

    np.testing.assert_array_equal(answer["output_label"], classifier.predict(table[0]))
    np.testing.assert_allclose(answer["output_probability"], classifier.predict_proba(table[0]), atol=1e-5)


def test_weights_from_outside_of_its_folder_are_not_read(shelf: Any, tmp_path: Path) -> None:
    """Whoever may register a model could else have any file of this machine answered, number by number."""
    (tmp_path / "secret").write_bytes(b"0123456789ab")
    made = graph(inputs=("X", "w"))
    del made.graph.input[1]
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=str(tmp_path / "secret"))
    made.graph.initializer.append(weight)
    version = shelf.log("onnx", graph(), input_example=X, signature=signature(X))
    (shelf.files(version) / "model.onnx").write_bytes(made.SerializeToString())

    with pytest.raises(Unusable, match="should be a relative path, but it is an absolute path"):
        load(shelf, version)
