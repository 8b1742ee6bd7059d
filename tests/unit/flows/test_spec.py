"""What a right spec means: values, YAML's traps, the environment, identity."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.flows.errors import SpecError
from lockgate.flows.spec import Spec, load, parse
from lockgate.monitoring.units import percent, percent_text, seconds, seconds_text, share, share_text, size, size_text
from lockgate.rollout.spec import CanaryStep

ROOT = Path(__file__).parents[3]
MINIMAL = (ROOT / "examples/minimal/lockgate.yaml").read_text()
HEAVY = {"mlflow", "bentoml", "torch", "onnx", "prefect", "sqlalchemy", "numpy", "rich", "httpx"}


def _with(old: str, new: str, environment: dict[str, str] | None = None) -> Spec:
    assert MINIMAL.count(old) == 1
    return parse(MINIMAL.replace(old, new), environment=environment or {})


def _weight(spec: Spec) -> float:
    step = spec.rollout.steps[1]
    assert isinstance(step, CanaryStep)
    return step.canary.weight


def test_the_example_is_right_and_the_rest_has_defaults() -> None:
    spec = load(ROOT / "examples/minimal/lockgate.yaml")
    assert (spec.name, spec.model.stable, spec.model.candidate) == ("fraud", "@champion", "@challenger")
    assert spec.service.compile.targets == ("onnxruntime", "eager")
    assert spec.platform.kind == "local"


@pytest.mark.parametrize("written", ["7", "7%", "7.0", "7 %", '"7%"'])
def test_a_percentage_may_have_its_sign(written: str) -> None:
    assert _weight(_with("weight: 5,", f"weight: {written},")) == 7.0


@pytest.mark.parametrize("word", ["no", "on", "yes", "off", "y"])
def test_words_that_yaml_1_1_takes_for_booleans_are_words(word: str) -> None:
    assert _with("name: fraud\n", f"name: {word}\n").name == word


def test_small_numbers_need_no_point() -> None:
    spec = parse(MINIMAL + "service: {compile: {parity: {rtol: 1e-3, atol: 1E-6}}}\n", environment={})
    assert (spec.service.compile.parity.rtol, spec.service.compile.parity.atol) == (1e-3, 1e-6)


def test_a_version_number_may_be_a_number_or_a_text() -> None:
    spec = _with("fraud-detector", 'fraud-detector\n  stable: 3\n  candidate: "4"')
    assert (spec.model.stable, spec.model.candidate) == ("3", "4")


def test_anchors_aliases_and_merged_mappings() -> None:
    text = MINIMAL.replace("{weight: 5, hold: {min_requests: 1000}}", "&c {weight: 5, hold: &h {min_requests: 7}}")
    text = text.replace("{weight: 50, hold: {min_requests: 1000}}", "{<<: *c, weight: 50, timeout: 2h}")
    steps = [step.canary for step in parse(text, environment={}).rollout.steps[1:] if isinstance(step, CanaryStep)]
    assert [(s.weight, s.hold.min_requests, s.timeout) for s in steps] == [(5, 7, 3600), (50, 7, 7200)]


def test_a_byte_order_mark_and_windows_lines_are_read(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert load(file) == parse(MINIMAL)


class TestEnvironment:
    def test_a_reference_is_replaced_wherever_a_text_stands(self) -> None:
        spec = _with("fraud-detector", "${TEAM}-${KIND}", {"TEAM": "risk", "KIND": "fraud"})
        assert spec.model.name == "risk-fraud"

    def test_two_dollars_are_one(self) -> None:
        assert _with("fraud-detector", "a$${TEAM}", {"TEAM": "x"}).model.name == "a${TEAM}"

    @pytest.mark.parametrize("value", ["9", "9%"])
    def test_a_number_where_a_number_is_wanted(self, value: str) -> None:
        assert _weight(_with("weight: 5,", 'weight: "${W}",', {"W": value})) == 9.0

    def test_a_text_of_digits_where_a_text_is_wanted(self) -> None:
        assert _with("fraud-detector", "${M}", {"M": "2024"}).model.name == "2024"

    def test_a_value_is_never_yaml(self) -> None:
        assert _with("fraud-detector", "${M}", {"M": "a, b}#*&"}).model.name == "a, b}#*&"

    def test_a_reference_in_a_value_is_left_alone(self) -> None:
        assert _with("fraud-detector", "${M}", {"M": "${HOME}"}).model.name == "${HOME}"

    def test_every_missing_variable_is_named(self) -> None:
        with pytest.raises(SpecError) as caught:
            _with("name: fraud\n", "name: ${ONE}\nplatform: {kind: '${TWO}'}\n")
        assert [p.message.split(" is ")[0] for p in caught.value.problems] == [
            "the environment variable ONE",
            "the environment variable TWO",
        ]

    @pytest.mark.parametrize("secret", ["hunter2/very:secret", 'it\'s "quoted"\\\n/', "a/b", "\n:"])
    def test_a_value_is_never_shown(self, secret: str) -> None:
        with pytest.raises(SpecError) as caught:
            _with("fraud-detector", "x-${S}-y\n  stable: '${S}'", {"S": secret})
        said = str(caught.value)
        assert len(caught.value.problems) == 2
        assert secret not in said
        assert repr(secret)[1:-1] not in said
        assert "${S}" in said

    def test_what_shows_a_spec_can_hide_its_values(self) -> None:
        spec = _with("fraud-detector", "${M}", {"M": "hunter2"})
        assert spec.hide("model hunter2, version 2") == "model ${M}, version 2"

    def test_bytes_that_are_no_text_are_refused(self) -> None:
        with pytest.raises(SpecError, match="the environment variable M is not UTF-8 text"):
            _with("fraud-detector", "${M}", {"M": os.fsdecode(b"\xff")})


class TestFiles:
    def test_one_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match=r"nope\.yaml: there is no such file; `lockgate init MODEL` writes one"):
            load(tmp_path / "nope.yaml")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(SpecError, match="this is a folder; name the file in it"):
            load(tmp_path)

    def test_one_that_is_no_text(self, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_bytes(b"name: fraud\nmodel: {name: caf\xe9}\n")
        with pytest.raises(SpecError, match=r"s\.yaml:2: the byte 0xe9 is not UTF-8 text; save the file as UTF-8"):
            load(tmp_path / "s.yaml")

    def test_one_that_is_far_too_large(self, tmp_path: Path) -> None:
        (tmp_path / "s.yaml").write_bytes(MINIMAL.encode() + b"#" * 2**20)
        with pytest.raises(SpecError, match="larger than 1 MiB"):
            load(tmp_path / "s.yaml")

    def test_a_name_that_cannot_be_one(self) -> None:
        with pytest.raises(SpecError, match="cannot be read: embedded null byte"):
            load("a\0b")


class TestIdentity:
    def test_a_document_is_read_back_to_the_same_spec(self) -> None:
        spec = parse(MINIMAL)
        assert Spec.of(spec.document) == spec
        assert Spec.of(spec.document).digest == spec.digest

    def test_the_digest_is_of_what_is_meant_not_of_how_it_is_written(self) -> None:
        assert _with("margin: 20%", "margin: 0.2").digest == parse("# a comment\n" + MINIMAL).digest

    def test_the_digest_changes_with_a_default_that_is_written_differently(self) -> None:
        other = parse(MINIMAL + "service: {timeout: 9s}\n")
        assert other.digest != parse(MINIMAL).digest
        assert other.service_digest != parse(MINIMAL).service_digest

    def test_the_services_digest_is_of_the_service_alone(self) -> None:
        assert _with("weight: 5,", "weight: 6,").service_digest == parse(MINIMAL).service_digest


class TestUnits:
    """What is written to JSON is read back to the very same number."""

    @given(st.floats(1e-9, 3e7))
    def test_durations(self, value: float) -> None:
        assert seconds(seconds_text(value)) == value

    @given(st.floats(1e-9, 100))
    def test_percentages(self, value: float) -> None:
        assert percent(percent_text(value)) == value

    @given(st.floats(0, 10).filter(lambda value: value == 0 or value > 1e-9))
    def test_shares(self, value: float) -> None:
        assert share(share_text(value)) == value

    @given(st.integers(0, 2**40))
    def test_sizes(self, value: int) -> None:
        assert size(size_text(value)) == value

    @pytest.mark.parametrize(
        ("text", "value"), [("250ms", 0.25), ("1h30m", 5400), ("7d", 604800), ("0.5s", 0.5), ("1m30s", 90)]
    )
    def test_durations_as_people_write_them(self, text: str, value: float) -> None:
        assert seconds(text) == value

    @pytest.mark.parametrize("text", ["1:30", "5", "5 s", "s", "-5s", "1e3s", "\u0665s", "5sec", ""])
    def test_what_is_no_duration(self, text: str) -> None:
        with pytest.raises(ValueError, match="is not a duration"):
            seconds(text)


def test_loading_a_spec_loads_no_vendor() -> None:
    """What makes `validate` quick: the second it may take is spent on imports, or it is not spent."""
    code = (
        "import sys; from lockgate.flows.spec import load; load(sys.argv[1]);"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "examples/minimal/lockgate.yaml")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not HEAVY & set(out.split())
