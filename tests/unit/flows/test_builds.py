"""Which build is found again, and which spec asks for another one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lockgate.flows import builds, doctor
from lockgate.flows.errors import WrongVariable
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec, load
from lockgate.registry.words import ModelVersion
from lockgate.services import spec as service
from lockgate.services.words import Bento, Build

EXAMPLE = Path(__file__).parents[3] / "examples/minimal/lockgate.yaml"
VERSION = ModelVersion("fraud", "2", "models:/m-2")
MADE = Build(Bento("fraud:abc", "fraud", "2", "d", "eager"), None)


def spec(**changed: Any) -> Spec:
    document = load(EXAMPLE).document
    document["service"] |= changed
    return Spec.of(document)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Of a machine with 16 cores, where version 2 was built as the example says."""
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    monkeypatch.delenv("LOCKGATE_ENGINE_THREADS", raising=False)
    monkeypatch.setattr(service, "cores", lambda: 16)
    (tmp_path / "bentoml/bentos/fraud/abc").mkdir(parents=True)
    where = Home(tmp_path, "")
    builds.remember(spec(), VERSION, where, MADE)
    return where


def test_another_number_of_threads_is_another_build(home: Home) -> None:
    assert builds.known(spec(), VERSION, home) == MADE
    assert builds.known(spec(resources={"threads": 4}), VERSION, home) is None
    assert builds.known(spec(resources={"memory": "1GiB"}), VERSION, home) == MADE


def test_more_replicas_leave_the_search_fewer_threads_to_try(home: Home) -> None:
    assert builds.known(spec(replicas={"min": 2}), VERSION, home) is None
    builds.remember(spec(replicas={"min": 2}, resources={"threads": 4}), VERSION, home, MADE)
    assert builds.known(spec(replicas={"min": 3}, resources={"threads": 4}), VERSION, home) == MADE


def test_what_the_machines_owner_says_is_another_build_and_what_is_no_number_a_sentence(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not doctor._threads()
    monkeypatch.setenv("LOCKGATE_ENGINE_THREADS", "3")
    assert builds.known(spec(), VERSION, home) is None
    assert [(check.state, check.says) for check in doctor._threads()] == [
        ("ok", "3, for LOCKGATE_ENGINE_THREADS says so")
    ]
    monkeypatch.setenv("LOCKGATE_ENGINE_THREADS", "two")
    with pytest.raises(WrongVariable, match=r"LOCKGATE_ENGINE_THREADS is 'two'; set it to") as wrong:
        builds.known(spec(), VERSION, home)
    assert wrong.value.code == 2
    assert [check.state for check in doctor._threads()] == ["missing"]
