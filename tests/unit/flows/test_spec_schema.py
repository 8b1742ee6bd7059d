"""The JSON schema and the reference: right, complete, and what is checked in is what the code says."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from lockgate.flows.reference import reference
from lockgate.flows.schema import json_schema, schema_text

ROOT = Path(__file__).parents[3]
CHECKER = Draft202012Validator(json_schema())


def _example() -> dict[str, Any]:
    example: dict[str, Any] = yaml.safe_load((ROOT / "examples/minimal/lockgate.yaml").read_text())
    return example


@pytest.mark.parametrize(
    ("file", "text"),
    [("docs/lockgate.schema.json", schema_text), ("docs/spec.md", reference)],
    ids=["schema", "reference"],
)
def test_what_is_checked_in_is_current(file: str, text: Any) -> None:
    form = "markdown" if file.endswith("md") else "json"
    assert (ROOT / file).read_text() == text(), f"run: lockgate schema --format {form} --output {file}"


def test_the_schema_is_one_and_the_example_fits() -> None:
    Draft202012Validator.check_schema(json_schema())
    CHECKER.validate(_example())


@pytest.mark.parametrize(
    "step",
    [
        {"approval": {"weight": 5}},
        {"approval": {"expires": 24}},
        {"aproval": {}},
        {"canary": {"weight": 5}, "shadow": {}},
        {"canary": {"wieght": 5}},
        {"canary": {"weight": "x"}},
        {"canary": {}},
        {},
        "canary",
    ],
)
def test_an_editor_marks_a_wrong_step(step: Any) -> None:
    example = _example()
    example["rollout"]["steps"] = [step]
    assert not CHECKER.is_valid(example)


@pytest.mark.parametrize("gates", [{}, {"Errors": {"metric": "error_rate"}}, {"e": {"metric": "accuracy"}}, {"e": {}}])
def test_an_editor_marks_a_wrong_gate(gates: Any) -> None:
    example = _example()
    example["rollout"]["gates"] = gates
    assert not CHECKER.is_valid(example)


def _fields(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, model in {"the top": schema, **schema["$defs"]}.items():
        for field, about in model["properties"].items():
            inner = schema["$defs"][about["$ref"].rpartition("/")[2]] if "$ref" in about else {}
            yield f"{name}.{field}", {**inner, **about}


def test_every_field_says_what_it_is() -> None:
    assert [path for path, about in _fields(json_schema()) if not about.get("description", "").endswith(".")] == []


def test_defaults_are_shown_as_people_write_them() -> None:
    defaults = {path: about.get("default") for path, about in _fields(json_schema())}
    assert defaults["ServiceSpec.timeout"] == "10s"
    assert defaults["ServiceSpec.max_body"] == "16MiB"
    assert defaults["Latency.margin"] == "20%"
    assert json.loads(json.dumps(defaults)) == defaults


def test_a_schema_with_its_own_defaults_written_out_is_still_right() -> None:
    example = _example()
    for name, about in json_schema()["properties"].items():
        example.setdefault(name, about.get("default"))
    CHECKER.validate(example)
