"""The spec that `lockgate init` writes: it validates, trusts nothing, says what it was made from, replaces nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.flows.errors import Unwritten
from lockgate.flows.init import template, write
from lockgate.flows.spec import parse
from lockgate.registry.describe import Description
from lockgate.registry.naming import Input
from lockgate.registry.spec import Trust
from lockgate.registry.words import ModelVersion

TENSOR = (Input("input", "float32", (-1, 30), column=False),)
ALIASED = {"3": ("challenger",), "2": ("champion", "previous"), "1": ()}


def _description(
    name: str = "fraud-detector", versions: Mapping[str, tuple[str, ...]] = ALIASED, **other: Any
) -> Description:
    facts = {"flavour": "pytorch", "storage": "pt2", "inputs": TENSOR, "rows": 5, "needs": Trust()} | other
    return Description(version=ModelVersion(name, "3", "models:/x"), versions=versions, **facts)


def test_it_validates_as_it_is() -> None:
    spec = parse(template(_description()), environment={})
    assert (spec.name, spec.model.name) == ("fraud-detector", "fraud-detector")
    assert [type(step).__name__ for step in spec.rollout.steps] == ["ShadowStep", *["CanaryStep"] * 3]


def test_every_commented_line_validates_too() -> None:
    """Comments that are wrong once the '#' is gone would be worse than none."""
    lines = []
    for line in template(_description(needs=Trust(pickle=True))).splitlines():
        bare = line.lstrip()
        fields = bare.startswith("# ") and bare[2:].split(":")[0].isidentifier() and ": " in bare
        lines.append(line.replace("# ", "", 1) if fields else line)
    text = "\n".join(lines)
    assert text.count("#") < template(_description()).count("#")
    spec = parse(text, environment={})
    assert spec.model.trust.pickle
    assert spec == parse(template(_description()) + "\n").model_copy(update={"model": spec.model})


def test_it_says_who_holds_the_aliases() -> None:
    text = template(_description())
    assert "# serves today: version 2\n" in text
    assert "# wants to serve: version 3\n" in text


def test_it_says_what_to_do_when_nobody_holds_them() -> None:
    text = template(_description(versions={"3": ()}))
    assert "# serves today: none yet; set the alias `champion` on a version in MLflow" in text
    assert "# wants to serve: none yet; set the alias `challenger` on a version in MLflow" in text


@pytest.mark.parametrize("needs", [Trust(pickle=True), Trust(types=("numpy.dtype", "a.B"))])
def test_trust_is_never_given_for_the_user(needs: Trust) -> None:
    text = template(_description(needs=needs))
    assert "# trust: " in text
    assert parse(text, environment={}).model.trust == Trust()
    assert parse(text.replace("# trust: ", "trust: "), environment={}).model.trust == needs


def test_it_says_what_the_model_takes() -> None:
    many = tuple(Input(f"c{i}", "float64", (-1,), column=True) for i in range(12))
    assert "# Version 3 is a pytorch model; it takes input (float32).\n" in template(_description())
    assert "c7 (float64) and 4 more.\n" in template(_description(inputs=many))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("Fraud Detector", "fraud-detector"),
        ("catalog.schema.Model_v2", "catalog-schema-model-v2"),
        ("2024", "model-2024"),
        ("true", "true"),
        ("модель", "model"),
        ('a "quoted" #1\\', "a-quoted-1"),
        ("x" * 49 + "-" + "y" * 30, "x" * 49),
        ("${HOME}", "home"),
        ("{name}", "name"),
        ("- a", "a"),
    ],
)
def test_any_registered_name_is_read_back(model: str, name: str) -> None:
    spec = parse(template(_description(model)), environment={})
    assert (spec.model.name, spec.name) == (model, name)


def test_names_from_the_registry_cannot_leave_their_comment() -> None:
    evil = Input("x\nplatform: {kind: moon}\n#", "float32", (-1,), column=False)
    text = template(_description(inputs=(evil,), needs=Trust(types=("a\nb: c",))))
    assert yaml.safe_load(text) == yaml.safe_load(template(_description()))


class TestWriting:
    def test_a_new_file(self, tmp_path: Path) -> None:
        write(tmp_path / "a.yaml", "text\n", force=False)
        assert (tmp_path / "a.yaml").read_text() == "text\n"
        assert [file.name for file in tmp_path.iterdir()] == ["a.yaml"]

    def test_one_that_is_there_stays(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("mine")
        with pytest.raises(Unwritten, match=r"a\.yaml is there already; add --force to replace it, or --output"):
            write(tmp_path / "a.yaml", "text", force=False)
        assert (tmp_path / "a.yaml").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_one_that_is_there_is_replaced_by_force(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("mine")
        write(tmp_path / "a.yaml", "text", force=True)
        assert (tmp_path / "a.yaml").read_text() == "text"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_failure_leaves_the_old_file_and_nothing_else(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        (tmp_path / "a.yaml").write_text("mine")
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Unwritten, match=r"a\.yaml cannot be written: No space left on device"):
            write(tmp_path / "a.yaml", "text", force=True)
        assert (tmp_path / "a.yaml").read_text() == "mine"
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_folder_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(Unwritten, match="cannot be written: No such file or directory"):
            write(tmp_path / "no" / "a.yaml", "text", force=False)

    def test_a_dangling_link_is_something_that_is_there(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").symlink_to(tmp_path / "nowhere")
        with pytest.raises(Unwritten, match="is there already"):
            write(tmp_path / "a.yaml", "text", force=False)
        assert (tmp_path / "a.yaml").is_symlink()
