"""What came from the environment is stored by reference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lockgate.flows.errors import MissingPart
from lockgate.flows.home import home
from lockgate.flows.spec import Spec, load, parse
from lockgate.flows.specfile.environment import referred

TEXT = """
name: toy
model: {name: "${SECRET_MODEL}", trust: {types: ["plain $${text}"]}}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {errors: {metric: error_rate}}
"""


def test_the_document_names_the_variable_and_reads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_MODEL", "hunter2-model")
    file = tmp_path / "lockgate.yaml"
    file.write_text(TEXT)
    spec = load(file)
    assert spec.model.name == "hunter2-model"
    assert spec.model.trust.types == ("plain ${text}",)
    stored = json.dumps(spec.document)
    assert "hunter2" not in stored
    again = Spec.of(json.loads(stored))
    assert again == spec
    assert again.document == spec.document
    assert again.hide("no hunter2-model here") == "no ${SECRET_MODEL} here"


def test_a_variable_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_MODEL", "hunter2-model")
    file = tmp_path / "lockgate.yaml"
    file.write_text(TEXT)
    document = load(file).document
    monkeypatch.delenv("SECRET_MODEL")
    with pytest.raises(ValueError, match="SECRET_MODEL is not set"):
        Spec.of(document)


def test_what_a_rollout_is_stored_with_knows_no_address_and_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAREHOUSE_URL", "postgresql://bob:hunter2@db/shop")
    monkeypatch.setenv("TOKEN", "hunter2-token")
    spec = parse(
        """
name: toy
model: {name: toy}
monitoring: {prometheus: "http://127.0.0.1:9090"}
rollout:
  steps: [{canary: {weight: 5}}]
  gates: {slo: {query: 'x{token="${TOKEN}"}', max: 1}}
  metrics: {bought: {sql: {url: "${WAREHOUSE_URL}", query: "select :since"}}}
"""
    )
    assert spec.rollout.metrics["bought"].sql is not None
    assert "hunter2" in spec.rollout.metrics["bought"].sql.url
    stored = spec.rollout.without_secrets(spec.hide)
    text = json.dumps(stored.model_dump(mode="json"))
    assert "hunter2" not in text
    assert type(stored).model_validate(json.loads(text)) == stored


def test_the_variables_that_a_document_refers_to_are_known_by_name() -> None:
    document = {"a": ["x${ONE}y${TWO}", {"b": "$${NOT_ONE}"}], "c": 3, "${KEYS_ARE_NOT}": None}
    assert referred(document) == {"ONE", "TWO"}


def test_a_home_in_which_everybody_may_put_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))
    assert home().root.stat().st_mode & 0o777 == 0o700
    (tmp_path / "home").chmod(0o777)
    with pytest.raises(MissingPart, match=r"everybody may write to .*home, where models are kept: `chmod o-w` it"):
        home()
