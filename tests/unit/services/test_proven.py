"""A replica never runs an artifact that was proven on other hardware: proven again, another one, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.services.compile import fingerprint, reference
from lockgate.services.compile.words import Tolerance
from lockgate.services.serving import proven, start

IMPORTABLE = Path(__file__).parents[2] / "integration/services/importable"
TOLERANCE = {"rtol": 1e-3, "atol": 1e-5, "min_agreement": 0.999, "margin": 0.05, "rows": 32}
Artifact = Callable[..., Path]


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """Writes the entry of a bento; `fallback=...` the second artifact in it. `cpu` is where it was proven."""
    monkeypatch.syspath_prepend(str(IMPORTABLE))
    from toys import models  # type: ignore[import-not-found, unused-ignore]

    (tmp_path / proven.REFERENCE).mkdir()
    reference.write(models.linear(), Tolerance(rows=32), 8, tmp_path / proven.REFERENCE)

    def write(place: str = "", cpu: Any = None, **settings: Any) -> Path:
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        np.save(folder / "weights.npy", models.WEIGHTS)
        manifest = {"engine": "toys.engine", "file": "weights.npy", "packages": {}, "portable": True}
        manifest |= {"target": "toy", "precision": "fp32", "device": "cpu"} | settings
        made = fingerprint.of(manifest)
        manifest.setdefault("fingerprint", made if cpu is None else {**made, "cpu": cpu})
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


def load(entry: Path) -> proven.Proven:
    return proven.load(entry, TOLERANCE, 8)


def test_on_hardware_like_that_of_the_proof_it_is_loaded_without_more(
    entry: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockgate.services.serving.proven.Proof", None)
    found = load(entry())
    assert (found.manifest["target"], found.how) == ("toy", "")


@pytest.mark.parametrize("cpu", [None, ["avx9000"]])
def test_the_engine_has_the_threads_that_the_artifact_was_proven_with(
    cpu: Any, entry: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lockgate.services.serving.threads.cores", lambda: 4)
    monkeypatch.delenv("LOCKGATE_ENGINE_THREADS", raising=False)
    found = load(entry(cpu=cpu, threads=2))
    assert (found.threads, found.engine.threads) == (2, 2)  # type: ignore[attr-defined]
    monkeypatch.setenv("LOCKGATE_ENGINE_THREADS", "3")
    assert load(entry(cpu=cpu, threads=2)).threads == 3


def test_a_fallback_has_the_threads_of_what_was_chosen(entry: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.services.serving.threads.cores", lambda: 4)
    entry(cpu=["avx9000"], target="aotinductor", portable=False, threads=4)
    assert load(entry(proven.FALLBACK, cpu=["avx9000"], threads=1)).engine.threads == 4  # type: ignore[attr-defined]


def test_an_artifact_of_before_threads_were_written_down_has_one(entry: Artifact) -> None:
    assert load(entry()).threads == 1


def test_elsewhere_a_portable_one_is_proven_again_and_says_so(
    entry: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    found = load(entry(cpu=["avx9000"]))
    assert found.manifest["target"] == "toy"
    assert found.how.startswith("compiled and proven again on this machine (a processor without avx9000 and with ")
    assert found.how in caplog.text


def test_one_that_differs_here_is_not_run(entry: Artifact) -> None:
    with pytest.raises(proven.NotProven) as refused:
        load(entry(cpu=["avx9000"], constant=7.1))
    sentence = str(refused.value)
    assert sentence.startswith("this machine is not like the one where the artifact was proven (a processor without")
    assert "toy fp32 differs here: output 'first', row 0: the source says" in sentence
    assert "Compile on hardware like this, or add `eager`" in sentence


@pytest.mark.parametrize(
    ("main", "tried"),
    [
        ({"portable": False}, "aotinductor fp32 holds machine code of the hardware it was proven on"),
        ({"constant": 8}, "aotinductor fp32 differs here: output 'first'"),
        ({"load": "fail"}, "aotinductor fp32 does not load: OSError: weights.npy holds version 9, this reads 8"),
    ],
)
def test_the_fallback_is_proven_here_and_served(main: dict[str, Any], tried: str, entry: Artifact) -> None:
    entry(cpu=["avx9000"], target="aotinductor", **main)
    found = load(entry(proven.FALLBACK, cpu=["avx9000"], target="onnxruntime"))
    assert found.manifest["target"] == "onnxruntime"
    assert found.how.startswith("compiled and proven again on this machine (")
    assert tried in found.how


def test_a_fallback_that_differs_or_holds_machine_code_is_refused_too(entry: Artifact) -> None:
    entry(cpu=["avx9000"], target="aotinductor", portable=False)
    for settings in ({"constant": 8}, {"portable": False}, {"load": "fail"}):
        with pytest.raises(proven.NotProven, match="nothing in the bento can be proven here: aotinductor fp32 holds"):
            load(entry(proven.FALLBACK, cpu=["avx9000"], target="onnxruntime", **settings))


def test_machine_code_is_not_even_loaded_elsewhere(entry: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instructions that this processor lacks end the process."""
    monkeypatch.setattr("lockgate.services.serving.proven.engines.load", None)
    with pytest.raises(proven.NotProven):
        load(entry(cpu=["avx9000"], portable=False))


@pytest.mark.parametrize("made", [{}, {"libraries": {"torch": "1.0"}}])
def test_another_library_or_no_fingerprint_at_all_is_other_hardware(entry: Artifact, made: Any) -> None:
    assert "proven again on this machine" in load(entry(fingerprint=made)).how


def test_an_artifact_that_says_nothing_of_where_it_was_proven_is_not_trusted(entry: Artifact) -> None:
    folder = entry()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["fingerprint"], manifest["portable"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(proven.NotProven):
        load(folder)


def test_precision_and_tolerance_are_those_of_the_spec(entry: Artifact) -> None:
    folder = entry(cpu=["avx9000"], constant=7.01, precision="int8")
    assert proven.load(folder, TOLERANCE, 8).manifest["precision"] == "int8"
    with pytest.raises(proven.NotProven):
        proven.load(folder, {**TOLERANCE, "margin": 1e-4}, 8)


def test_where_it_was_proven_a_broken_artifact_is_an_error_and_nothing_else_is_served(entry: Artifact) -> None:
    entry(load="fail")
    with pytest.raises(OSError, match="holds version 9"):
        load(entry(proven.FALLBACK))


def test_every_batch_that_a_graph_is_recorded_for_is_run_before_anybody_asks(
    entry: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    class Noted:
        def run(self, x: Any) -> Any:
            sizes.append(len(x["x"]))
            return x

    monkeypatch.setattr("lockgate.services.serving.proven.engines.load", lambda *_: Noted())
    start.warm(entry(graphs=24), {"tolerance": TOLERANCE}, 24)
    assert sizes[:7] == [24, 16, 8, 4, 2, 1, 1]  # then the time of one row
    assert set(sizes[7:]) == {1}
