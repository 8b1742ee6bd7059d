"""What is said about each kind of mistake, word for word."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.flows.errors import SpecError
from lockgate.flows.spec import parse

VALID = """\
name: fraud
model:
  name: fraud-detector
service:
  timeout: 10s
rollout:
  steps:
    - shadow: {percent: 100, hold: {min_requests: 500}}
    - canary: {weight: 5}
  gates:
    errors: {metric: error_rate, margin: 0.5%}
    slow: {metric: latency, quantile: 0.99}
"""
ENVIRONMENT = {
    "SECRET": "hunter2-secret",
    "NONE": "0s",
    "ZERO": "0",
    "LONG": "hunter2-long-enough",
    "SPACED": "Bearer hunter2-long-enough",
}


def _cases() -> list[tuple[str, list[str]]]:
    """(the spec with the mistake, what is to be said) for each block of the table."""
    cases = []
    for block in (Path(__file__).parent / "spec_mistakes.txt").read_text().split("\n\n"):
        old, new, said = ([line[2:] for line in block.splitlines() if line[0] == mark] for mark in "-+!")
        if said:
            text = VALID.replace("\n".join(old), "\n".join(new), 1) if old else "\n".join(new)
            assert text != VALID, block
            cases.append((text, said))
    return cases


def _said(text: str, file: str = "f") -> list[str]:
    with pytest.raises(SpecError) as caught:
        parse(text, file, ENVIRONMENT)
    return str(caught.value).splitlines()


def test_the_spec_that_the_mistakes_are_made_in_is_right() -> None:
    assert parse(VALID, environment={}).name == "fraud"


def test_there_are_many_kinds() -> None:
    assert len(_cases()) > 100


@pytest.mark.parametrize(("text", "said"), _cases(), ids=[" ".join(said)[:90] for _, said in _cases()])
def test_every_mistake_has_its_sentence(text: str, said: list[str]) -> None:
    assert [line.removeprefix("f:").strip() for line in _said(text)] == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "f: the file is empty; `lockgate init MODEL` writes a spec to start from"),
        ("\tname: fraud\n", "f:1: a tab; YAML is indented with spaces"),
        ("a: 1\nb: \x07\n", "f:2: the character U+0007 is not allowed in YAML; remove it"),
        ("[" * 1000, "f:1: nested deeper than 32 levels; a spec needs fewer"),
        ("- 1\n" * 30_000, "f:20000: more than 10000 values; a spec needs fewer"),
        (
            VALID.replace("name: fraud\n", 'name: "\\ud800"\n', 1),
            "f:1: name: the text holds half of a character; write the character itself",
        ),
        ('"\\ud800": 1\n' + VALID, "f:1: the name of a field is a word"),
    ],
)
def test_what_cannot_stand_in_the_table(text: str, said: str) -> None:
    assert _said(text) == [said]


def test_aliases_that_stand_for_billions_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 10)]
    assert "with its aliases written out the spec has more than 10000 values" in _said("\n".join(lines))[0]


def test_merged_mappings_that_stand_for_billions_are_refused_at_once() -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}" for i in range(1, 10)]
    assert "more than 10000" in _said("\n".join(lines))[0]


def test_a_mapping_that_merges_itself_is_refused() -> None:
    text = "a: &a\n  <<: *a\n"
    assert "f:2: a: the alias stands for something that contains it" in _said(text)


def test_problems_come_in_the_order_of_their_lines_and_name_the_file() -> None:
    text = VALID.replace("weight", "wieght").replace("10s", "10").replace("name: fraud\n", "name: Fraud\n")
    said = _said(text, "some/where.yaml")
    assert [line.split(": ")[0] for line in said] == ["some/where.yaml:1", "some/where.yaml:5", "some/where.yaml:9"]


def test_four_thousand_problems_are_four_thousand_lines() -> None:
    assert len(_said("".join(f"field{i}: 1\n" for i in range(4_000)) + VALID)) == 4_000
