"""Whatever is done to a valid spec, it is read or every problem is a line; never a traceback."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from lockgate.flows.errors import SpecError
from lockgate.flows.schema import json_schema
from lockgate.flows.spec import Spec, parse
from lockgate.flows.specfile.nodes import compose
from lockgate.flows.specfile.values import Reader

FULL = """\
name: fraud
model: {name: fraud-detector, stable: "@champion", candidate: 7, trust: {pickle: false, types: [numpy.dtype]}}
service:
  compile: {targets: [onnxruntime, eager], parity: {rtol: 1e-3, atol: 1e-5, min_agreement: 0.999, rows: 256}}
  batching: {max_batch_size: 64, max_latency: 5ms}
  replicas: {min: 1}
  max_body: 16MiB
  timeout: 10s
  ready_within: 2m
rollout:
  traffic:
    listen: 127.0.0.1:8080
    metrics: 127.0.0.1:9901
    sticky: {header: x-user-id}
    force: {header: x-lockgate-variant}
    failover: {deadline: 250ms}
    timeout: 10s
    max_body: 16MiB
  steps:
    - shadow: {percent: 100, hold: {min_requests: 500, duration: 1m}, timeout: 30m, until: held, on_timeout: hold}
    - canary: {weight: 5%, hold: {min_requests: 1000}}
    - canary: {weight: 25, until: decided, timeout: 2h, on_timeout: rollback}
  gates:
    errors: {metric: error_rate, margin: 0.5%}
    latency: {metric: latency, quantile: 0.99, margin: 20%, slack: 2ms}
  profile: strict
platform: {kind: local}
"""
CHECKER = Draft202012Validator(json_schema())
WORDS = [
    "weight",
    "wieght",
    "metric",
    "shadow",
    "canary",
    "approval",
    "<<",
    "",
    "a b",
    "name",
    "[key]",
    "error_rate",
    "é",
]
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(
        ["5%", "0s", "1GiB", "@champion", "error_rate", "latency", "yes", "1:30", "${HOME", "127.0.0.1:1"]
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=4,
)


def _places(here: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    pairs = here.items() if isinstance(here, dict) else enumerate(here) if isinstance(here, list) else ()
    for key, below in pairs:
        yield (*path, key)
        yield from _places(below, (*path, key))


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """The full spec with one to three things dropped, renamed, replaced or put twice."""
    tree = copy.deepcopy(yaml.safe_load(FULL))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(tree))
        if not places:
            break
        *above, last = draw(st.sampled_from(places))
        holder = tree
        for part in above:
            holder = holder[part]
        match draw(st.sampled_from(["drop", "rename", "replace", "again"])):
            case "drop":
                del holder[last]
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from(WORDS))] = holder.pop(last)
            case "again" if isinstance(holder, list):
                holder.append(copy.deepcopy(holder[last]))
            case _:
                holder[last] = draw(values)
    return tree


def _checked(text: str) -> Spec | SpecError:
    try:
        return parse(text, "f", {})
    except SpecError as error:
        return error


def _plain(text: str) -> Any:
    """What an editor sees: YAML 1.2, where `1e-3` is a number."""
    return Reader("f", {}).root(compose(text, "f")).value


def test_the_full_spec_is_right() -> None:
    assert isinstance(_checked(FULL), Spec)
    CHECKER.validate(_plain(FULL))


@settings(max_examples=200, deadline=None)
@given(mutated())
def test_a_mutated_spec_is_read_or_every_problem_has_its_place(tree: dict[str, Any]) -> None:
    text = yaml.safe_dump(tree, allow_unicode=True, sort_keys=False)
    result = _checked(text)
    if isinstance(result, SpecError):
        assert result.problems
        assert result.code == 2
        for problem in result.problems:
            assert 1 <= problem.line <= text.count("\n")
            assert problem.path
            assert "Input should" not in problem.message
            assert "\n" not in problem.at("f")
    else:
        assert Spec.of(result.document) == result
        CHECKER.validate(_plain(text))


@settings(max_examples=400, deadline=None)
@given(
    st.integers(0, len(FULL)),
    st.integers(0, 12),
    st.text(max_size=4) | st.sampled_from(list("{}[]:,-#&*!|>'\"%@`\t\n?")),
)
def test_mutated_text_is_read_or_refused(start: int, length: int, put: str) -> None:
    result = _checked(FULL[:start] + put + FULL[start + length :])
    if isinstance(result, SpecError):
        assert all(problem.line >= 1 for problem in result.problems)
        str(result).encode()


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%@#?, \n\t~<.0e", max_size=40))
def test_any_text_is_refused_in_a_sentence(text: str) -> None:
    assert isinstance(_checked(text), SpecError)


@pytest.mark.parametrize("path", ["name", "model", "rollout.steps", "rollout.gates"])
def test_what_is_needed_is_missed(path: str) -> None:
    tree = yaml.safe_load(FULL)
    *above, last = path.split(".")
    holder = tree
    for part in above:
        holder = holder[part]
    del holder[last]
    result = _checked(yaml.safe_dump(tree))
    assert isinstance(result, SpecError)
    assert [problem.path for problem in result.problems] == [path]
