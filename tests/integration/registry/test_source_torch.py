from __future__ import annotations

import io
import os
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lockgate.registry.client import quiet_import
from lockgate.registry.describe import describe
from lockgate.registry.errors import Untrusted, Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust

X = np.random.default_rng(3).normal(size=(4, 3)).astype("float32")
Y = np.random.default_rng(4).normal(size=(4, 2)).astype("float32")


class One(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x)


class Two(One):
    def forward(self, wide: torch.Tensor, narrow: torch.Tensor) -> dict[str, torch.Tensor]:  # type: ignore[override]
        return {"score": self.layer(wide) - narrow, "total": wide.sum(1)}


class Pair(One):
    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:  # type: ignore[override]
        return self.layer(x), x.sum(1)


def signature(**shapes: int) -> Any:
    models, types = quiet_import("mlflow.models"), quiet_import("mlflow.types")
    specs = [types.TensorSpec(np.dtype("float32"), (-1, wide), name=name) for name, wide in shapes.items()]
    return models.ModelSignature(inputs=types.Schema(specs))


def load(shelf: Any, version: str, trust: Trust | None = None) -> Any:
    registry = shelf.registry()
    return load_source(registry.fetch(registry.resolve("fraud", version)), trust or Trust())


def test_an_exported_program_answers_as_the_module_did(shelf: Any) -> None:
    model = One()
    source = load(shelf, shelf.log("pytorch", model, input_example=X))

    assert (source.storage, source.file) == ("pt2", "data/model.pt2")
    assert list(source.fetched.example) == ["input"]
    answer = source.run({"input": X})
    np.testing.assert_allclose(answer["output"], model(torch.from_numpy(X)).detach(), rtol=1e-6)
    check_batches(source)


def test_a_view_that_is_not_contiguous_or_not_writeable_answers_the_same(shelf: Any) -> None:
    source = load(shelf, shelf.log("pytorch", One(), input_example=X))
    view = np.asfortranarray(X)
    view.setflags(write=False)

    np.testing.assert_array_equal(source.run({"input": view})["output"], source.run({"input": X})["output"])


def test_an_example_of_tensors_is_read_from_the_archive(shelf: Any) -> None:
    """MLflow stores no JSON for it, only the archive has it."""
    version = shelf.log(
        "pytorch",
        Two(),
        input_example=(torch.from_numpy(X), torch.from_numpy(Y)),
        signature=signature(wide=3, narrow=2),
    )
    source = load(shelf, version)

    np.testing.assert_array_equal(source.fetched.example["wide"], X)
    np.testing.assert_array_equal(source.fetched.example["narrow"], Y)
    assert list(source.run({"narrow": Y, "wide": X})) == ["score", "total"]
    check_batches(source)


def test_a_tuple_of_answers_is_numbered(shelf: Any) -> None:
    answer = load(shelf, shelf.log("pytorch", Pair(), input_example=X, signature=signature(x=3))).run({"x": X})

    assert {name: values.shape for name, values in answer.items()} == {"output_0": (4, 2), "output_1": (4,)}


def test_an_example_of_one_row_freezes_the_batch(shelf: Any) -> None:
    """MLflow registers it and says -1 in the signature; the program refuses anything but one row."""
    source = load(shelf, shelf.log("pytorch", One(), input_example=X[:1]))
    assert source.fetched.signature["inputs"][0]["tensor-spec"]["shape"] == [-1, 3]
    assert source.run({"input": X[:1]})["output"].shape == (1, 2)

    with pytest.raises(Unusable) as refused:
        check_batches(source)

    sentence = str(refused.value)
    assert sentence.startswith(
        "fraud version 1 must answer any number of rows, but for 2 rows it raises AssertionError"
    )
    assert "(its example has 1)" in sentence
    assert "input_example=np.ascontiguousarray(X[:5])" in sentence


def test_an_example_that_is_a_slice_freezes_the_memory_layout(shelf: Any) -> None:
    """Its strides are traced, and a request's array never has them."""
    wide = np.ascontiguousarray(np.concatenate([X, X], axis=1))
    version = shelf.log(
        "pytorch",
        Two(),
        input_example=(X, torch.from_numpy(wide)[:, :2].numpy()),
        signature=signature(wide=3, narrow=2),
    )

    with pytest.raises(Unusable, match="use a contiguous one of two or more rows"):
        check_batches(load(shelf, version))


def test_a_pickle_needs_the_users_word(shelf: Any) -> None:
    model = One()
    version = shelf.log("pytorch", model, input_example=X, serialization_format="pickle")

    with pytest.raises(Untrusted, match=r"stored as pickle.*serialization_format='pt2'(.|\n)*trust:\n    pickle: true"):
        load(shelf, version)

    source = load(shelf, version, Trust(pickle=True))
    assert (source.storage, source.file) == ("pickle", "data/model.pth")
    np.testing.assert_allclose(source.run({"input": X})["output"], model(torch.from_numpy(X)).detach(), rtol=1e-6)
    assert not source.native.training
    check_batches(source)


def test_this_machines_environment_may_forbid_what_the_spec_allows(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    version = shelf.log("pytorch", One(), input_example=X, serialization_format="pickle")
    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")

    with pytest.raises(Untrusted, match="this machine's environment forbids"):
        load(shelf, version, Trust(pickle=True))


def test_named_inputs_follow_forward_whatever_the_signatures_order(shelf: Any) -> None:
    model = Two()
    version = shelf.log(
        "pytorch",
        model,
        input_example={"narrow": Y, "wide": X},
        signature=signature(narrow=2, wide=3),
        serialization_format="pickle",
    )

    answer = load(shelf, version, Trust(pickle=True)).run({"narrow": Y, "wide": X})

    expected = model(torch.from_numpy(X), torch.from_numpy(Y))["score"].detach()
    np.testing.assert_allclose(answer["score"], expected, rtol=1e-6)


def test_columns_become_one_matrix(shelf: Any, table: Any) -> None:
    frame = table[0].astype("float32")
    model = One()
    models = quiet_import("mlflow.models")
    version = shelf.log(
        "pytorch",
        model,
        input_example=frame[:5],
        signature=models.infer_signature(frame, np.zeros((5, 2), "float32")),
        serialization_format="pickle",
    )
    source = load(shelf, version, Trust(pickle=True))

    expected = model(torch.from_numpy(frame[:5].to_numpy())).detach()
    np.testing.assert_allclose(source.run(source.fetched.example)["output"], expected, rtol=1e-6)


class _Bomb:
    def __reduce__(self) -> Any:
        return os.mkdir, (os.environ["BOMB"],)


def test_an_archive_with_a_pickle_inside_is_refused_before_it_runs(shelf: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`torch.export.load` would unpickle it."""
    version = shelf.log("pytorch", One(), input_example=X)
    archive = shelf.files(version) / "data" / "model.pt2"
    monkeypatch.setenv("BOMB", str(shelf.folder / "boom"))
    _plant(archive, _Bomb())

    with pytest.raises(Untrusted, match="pt2 archive with pickles inside"):
        load(shelf, version)

    assert not (shelf.folder / "boom").exists()
    assert "MLFLOW_ALLOW_PICKLE_DESERIALIZATION" not in os.environ
    with pytest.raises(Unusable, match="does not load here"):
        load(shelf, version, Trust(pickle=True))
    assert (shelf.folder / "boom").is_dir(), "the bomb is real: with the user's word it goes off"


def test_an_archive_whose_example_is_a_pickle_is_refused_before_it_runs(
    shelf: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensors = (torch.from_numpy(X), torch.from_numpy(Y))
    version = shelf.log("pytorch", Two(), input_example=tensors, signature=signature(wide=3, narrow=2))
    monkeypatch.setenv("BOMB", str(shelf.folder / "boom"))
    _plant(shelf.files(version) / "data" / "model.pt2", _Bomb())

    with pytest.raises(Unusable, match="has an input example that cannot be read"):
        load(shelf, version)

    assert not (shelf.folder / "boom").exists()


def _plant(archive: Path, bomb: Any) -> None:
    with zipfile.ZipFile(archive) as old:
        records = {name: old.read(name) for name in old.namelist()}
    buffer = io.BytesIO()
    torch.save(bomb, buffer, pickle_module=pickle)
    with zipfile.ZipFile(archive, "w") as new:
        for name, content in records.items():
            new.writestr(name, buffer.getvalue() if name.endswith("sample_inputs/model.pt") else content)


def test_code_beside_an_exported_program_needs_the_users_word(shelf: Any, tmp_path: Path) -> None:
    """MLflow puts its folder before every other that is imported from: a file called like any module would be run."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "never_imported_by_anybody.py").write_text("raise SystemExit('it ran')")
    version = shelf.log("pytorch", One(), input_example=X, code_paths=[str(tmp_path / "code")])
    before = list(sys.path)

    with pytest.raises(Untrusted, match="a model with code of its author's beside it: loading it runs whatever code"):
        load(shelf, version)

    assert sys.path == before
    found = describe(shelf.registry(), "fraud", version)
    assert (found.storage, found.needs) == ("pt2", Trust(pickle=True))


def test_a_library_inside_an_exported_program_is_not_loaded(shelf: Any) -> None:
    """torch opens whatever shared library an archive holds. MLflow looks first, as long as pickles are forbidden."""
    version = shelf.log("pytorch", One(), input_example=X)
    archive = shelf.files(version) / "data" / "model.pt2"
    with zipfile.ZipFile(archive, "a") as zipped:
        root = zipped.namelist()[0].partition("/")[0]
        zipped.writestr(f"{root}/data/aotinductor/model/planted.so", b"\x7fELF")

    with pytest.raises(Untrusted, match=r"a pt2 archive with pickles inside(.|\n)*planted\.so"):
        load(shelf, version)
