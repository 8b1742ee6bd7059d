"""What every registry does, MLflow and the fake."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.approvals import KEY, PENDING, WRITING, Decision, Request
from lockgate.registry.client import quiet_import, quiet_mlflow
from lockgate.registry.errors import Conflict, NoSuchVersion, Refused
from lockgate.registry.mlflow_registry import MlflowRegistry
from lockgate.registry.words import EVIDENCE_ROOM, ModelVersion, Registry, Run

Filled = Callable[[int], Registry]
"""`filled(n)`: a registry with the model `fraud` of `n` versions, none of them named by an alias."""

REQUEST = Request(rollout="r-1", step=2, digest="d" * 64, artifact="a" * 64, asked_at=1000.5, expires_at=2000.25)
EVIDENCE = "## Promote fraud 2?\n\n| gate | |\n| --- | --- |\n| latency | PASS |\n\n---\n\nthe rest"


def _fake(of: Any) -> Filled:
    def filled(versions: int) -> Registry:
        fake = of()
        fake.put("fraud", versions)
        return fake  # type: ignore[no-any-return]

    return filled


def _says(registry: Any, version: ModelVersion, value: str) -> None:
    """Edit the tag, as a person does in the UI."""
    if isinstance(registry, MlflowRegistry):
        registry._client().set_model_version_tag(version.name, version.version, "lockgate.approval", value)
    else:
        registry.person_says(version, value)


def _edits(registry: Any, version: ModelVersion, old: str, new: str) -> None:
    """Edit the evidence, as a person does in the UI."""
    if isinstance(registry, MlflowRegistry):
        client = registry._client()
        text = client.get_model_version(version.name, version.version).description
        client.update_model_version(version.name, version.version, text.replace(old, new))
    else:
        registry.person_edits(version, EVIDENCE.replace(old, new))


def _empties(registry: Any, version: ModelVersion) -> None:
    """Delete the whole description."""
    if isinstance(registry, MlflowRegistry):
        registry._client().update_model_version(version.name, version.version, "")
    else:
        registry.person_edits(version, "")


def _mlflow(folder: Path, model: Path) -> Filled:
    uri = f"sqlite:///{folder / 'mlflow.db'}"

    def filled(versions: int) -> Registry:
        client = quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri)
        client.create_registered_model("fraud")
        for _ in range(versions):
            client.create_model_version("fraud", source=str(model))
        return MlflowRegistry(folder / "cache", uri)

    return filled


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("contract")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    quiet_mlflow().MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One usable model on disk."""
    from sklearn.linear_model import LinearRegression

    x = np.arange(12.0).reshape(4, 3)
    linear = LinearRegression().fit(x, x.sum(1))
    path = tmp_path_factory.mktemp("model") / "model"
    quiet_import("mlflow.pyfunc")
    quiet_import("mlflow.sklearn").save_model(
        linear,
        str(path),
        input_example=x,
        signature=quiet_import("mlflow.models").infer_signature(x, linear.predict(x)),
        pip_requirements=["numpy"],
    )
    return path


@pytest.fixture(params=["mlflow", "fake"])
def filled(request: Any, tmp_path: Path, template: Path, model: Path, fake_registry: Any) -> Filled:
    if request.param == "fake":
        return _fake(fake_registry)
    (tmp_path / "mlflow.db").write_bytes(template.read_bytes())
    return _mlflow(tmp_path, model)


def test_a_number_resolves_to_itself(filled: Filled) -> None:
    found = filled(2).resolve("fraud", "2")

    assert (found.name, found.version, found.aliases, str(found)) == ("fraud", "2", (), "fraud version 2")


@pytest.mark.parametrize(("name", "reference"), [("fraud", "@champion"), ("fraud", "3"), ("other", "1")])
def test_what_is_not_there_raises(filled: Filled, name: str, reference: str) -> None:
    with pytest.raises(NoSuchVersion, match=f"{name}.*{reference}" if name == "fraud" else name):
        filled(2).resolve(name, reference)


def test_a_fetched_model_has_what_a_rollout_needs(filled: Filled) -> None:
    registry = filled(1)
    version = registry.resolve("fraud", "1")

    fetched = registry.fetch(version)

    assert fetched.version == version
    assert fetched.signature["inputs"]
    assert {len(values) for values in fetched.example.values()} != {0}
    assert registry.fetch(version).digest == fetched.digest


def test_the_first_champion_has_no_predecessor(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)

    assert registry.resolve("fraud", "@champion").version == "1"
    with pytest.raises(NoSuchVersion):
        registry.resolve("fraud", "@previous")


def test_the_champion_before_is_kept_as_previous(filled: Filled) -> None:
    registry = filled(3)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "2", expected="1")
    registry.assign("fraud", "3", expected="2")

    assert registry.resolve("fraud", "@champion").version == "3"
    assert registry.resolve("fraud", "@previous").version == "2"
    assert registry.resolve("fraud", "3").aliases == ("champion",)


def test_assigning_again_changes_nothing(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)
    for _ in range(2):
        registry.assign("fraud", "2", expected="1")

    assert registry.resolve("fraud", "@champion").version == "2"
    assert registry.resolve("fraud", "@previous").version == "1"


def test_an_alias_that_somebody_moved_is_a_conflict(filled: Filled) -> None:
    registry = filled(3)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "3", expected="1")

    with pytest.raises(Conflict, match="where version 1 was expected"):
        registry.assign("fraud", "2", expected="1")

    assert registry.resolve("fraud", "@champion").version == "3"
    assert registry.resolve("fraud", "@previous").version == "1"


def test_an_alias_that_somebody_took_away_is_a_conflict(filled: Filled) -> None:
    with pytest.raises(Conflict):
        filled(2).assign("fraud", "2", expected="1")


def test_without_a_belief_the_alias_is_moved_from_wherever_it_is(filled: Filled) -> None:
    registry = filled(2)
    registry.assign("fraud", "1", expected=None)
    registry.assign("fraud", "2", expected=None)

    assert registry.resolve("fraud", "@champion").version == "2"


def test_a_version_that_is_not_there_is_not_assigned(filled: Filled) -> None:
    registry = filled(1)
    registry.assign("fraud", "1", expected=None)

    with pytest.raises(NoSuchVersion):
        registry.assign("fraud", "7", expected="1")

    assert registry.resolve("fraud", "@champion").version == "1"


def test_tags_get_our_prefix_and_are_cut(filled: Filled) -> None:
    registry = filled(1)
    registry.annotate("fraud", "1", {"phase": "building"})
    registry.annotate("fraud", "1", {"phase": "progressing", "decision": "x" * 6000})

    assert registry.resolve("fraud", "1").tags == {"lockgate.phase": "progressing", "lockgate.decision": "x" * 5000}


def test_a_version_that_is_not_there_gets_no_tags(filled: Filled) -> None:
    with pytest.raises(NoSuchVersion):
        filled(1).annotate("fraud", "2", {"phase": "building"})


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY, raising=False)


def asked(filled: Filled, request: Request = REQUEST) -> tuple[Registry, ModelVersion, str]:
    registry = filled(2)
    version = registry.resolve("fraud", "2")
    return registry, version, registry.ask(version, request, EVIDENCE)


def test_nothing_stands_on_a_new_versions_page(filled: Filled) -> None:
    registry = filled(1)
    page = registry.page(registry.resolve("fraud", "1"))

    assert (page.approval, page.request, page.decisions, page.evidence, page.author) == ("", None, (), "", "")


def test_what_is_asked_stands_on_the_versions_page(filled: Filled) -> None:
    registry, version, sha = asked(filled)

    page = registry.page(version)
    assert (page.approval, page.request, page.decisions, page.evidence) == (PENDING, REQUEST, (), sha)
    assert registry.page(registry.resolve("fraud", "1")).request is None


def test_the_hash_of_the_evidence_names_the_evidence(filled: Filled) -> None:
    registry, version, sha = asked(filled)

    assert registry.ask(version, replace(REQUEST, step=3), EVIDENCE) == sha
    assert registry.ask(version, replace(REQUEST, step=4), EVIDENCE + "!") != sha


@pytest.mark.parametrize("evidence", [EVIDENCE.replace("\n", "\r\n"), f"\n\n{EVIDENCE}\n", "é😀 $1 \\1", "x"])
def test_any_evidence_is_read_as_it_was_written(filled: Filled, evidence: str) -> None:
    registry, version, _ = asked(filled)

    sha = registry.ask(version, replace(REQUEST, step=3), evidence)

    assert registry.page(version).evidence == sha


def test_evidence_that_does_not_fit_is_not_cut(filled: Filled) -> None:
    registry, version, _ = asked(filled)
    registry.ask(version, replace(REQUEST, step=3), "x" * EVIDENCE_ROOM)

    with pytest.raises(ValueError, match=str(EVIDENCE_ROOM + 1)):
        registry.ask(version, replace(REQUEST, step=4), "x" * (EVIDENCE_ROOM + 1))


@pytest.mark.parametrize(("old", "new"), [("PASS", "FAIL"), ("the rest", "the rest "), ("\n\nthe rest", "")])
def test_any_edit_of_the_evidence_shows(filled: Filled, old: str, new: str) -> None:
    registry, version, sha = asked(filled)

    _edits(registry, version, old, new)

    assert registry.page(version).evidence != sha
    assert registry.ask(version, REQUEST, EVIDENCE) == sha, "asking again does not hide it"
    assert registry.page(version).evidence != sha


@pytest.mark.parametrize(
    ("value", "decided"),
    [
        ("approved", (True, "")),
        ("Approved: the p99 is fine", (True, "the p99 is fine")),
        ("rejected:no", (False, "no")),
    ],
)
def test_an_edited_tag_is_a_decision_by_nobody_known(filled: Filled, value: str, decided: Any) -> None:
    registry, version, _ = asked(filled)

    _says(registry, version, value)

    assert not registry.knows_people()
    page = registry.page(version)
    assert page.decisions == (Decision(decided[0], "", 0.0, decided[1], REQUEST.digest, verified=False),)
    assert page == registry.page(version), "the same at every reading"


def test_where_no_evidence_stands_nothing_was_decided(filled: Filled) -> None:
    registry, version, _ = asked(filled)
    _says(registry, version, "approved")
    _empties(registry, version)

    page = registry.page(version)
    assert (page.approval, page.evidence, page.decisions) == ("approved", "", ())


@pytest.mark.parametrize("value", ["aproved", "yes", "", "approved by ann", "pending"])
def test_what_is_neither_approved_nor_rejected_decides_nothing(filled: Filled, value: str) -> None:
    registry, version, _ = asked(filled)

    _says(registry, version, value)

    assert registry.page(version).decisions == ()
    assert registry.page(version).approval == value


def test_asking_the_same_again_takes_no_decision_back(filled: Filled) -> None:
    registry, version, sha = asked(filled)
    _says(registry, version, "approved: fine")
    before = registry.page(version)

    assert registry.ask(version, REQUEST, EVIDENCE) == sha

    assert registry.page(version) == before
    assert len(before.decisions) == 1


@pytest.mark.parametrize(
    "other", [{"asked_at": 1500.0}, {"digest": "e" * 64}, {"required": 2}], ids=["later", "other evidence", "more"]
)
def test_another_request_takes_every_decision_back(filled: Filled, other: Any) -> None:
    registry, version, _ = asked(filled)
    _says(registry, version, "approved: fine")

    registry.ask(version, replace(REQUEST, **other), EVIDENCE)

    page = registry.page(version)
    assert (page.approval, page.request, page.decisions) == (PENDING, replace(REQUEST, **other), ())


def test_a_request_whose_word_was_deleted_is_asked_again(filled: Filled) -> None:
    registry, version, sha = asked(filled)
    _says(registry, version, "")

    registry.ask(version, REQUEST, EVIDENCE)

    page = registry.page(version)
    assert (page.approval, page.request, page.evidence) == (PENDING, REQUEST, sha)


def test_a_closed_request_says_what_came_of_it(filled: Filled) -> None:
    registry, version, sha = asked(filled)
    for _ in range(2):
        registry.close(version, REQUEST, "approved by ann")

    page = registry.page(version)
    assert (page.approval, page.request, page.decisions) == ("approved by ann", REQUEST, ())
    assert page.evidence == sha


@pytest.mark.parametrize("value", ["aproved", "ok", "approved by ann", "rejected because", "being askd"])
def test_what_is_no_decision_is_asked_again(filled: Filled, value: str) -> None:
    registry, version, sha = asked(filled)
    _says(registry, version, value)

    assert registry.ask(version, REQUEST, EVIDENCE) == sha

    page = registry.page(version)
    assert (page.approval, page.request, page.decisions, page.evidence) == (PENDING, REQUEST, (), sha)
    _says(registry, version, "rejected: no")
    registry.ask(version, REQUEST, EVIDENCE)
    assert registry.page(version).approval == "rejected: no", "a decision stays"


def test_a_word_that_is_put_back_hides_no_edit_of_the_evidence(filled: Filled) -> None:
    registry, version, sha = asked(filled)
    _edits(registry, version, "PASS", "FAIL")
    _says(registry, version, "ok")

    registry.ask(version, REQUEST, EVIDENCE)

    page = registry.page(version)
    assert page.approval == PENDING
    assert page.evidence != sha


def test_another_request_is_not_closed(filled: Filled) -> None:
    registry, version, _ = asked(filled)

    registry.close(version, replace(REQUEST, step=1), "void: asked anew")

    assert registry.page(version).approval == PENDING


@pytest.mark.parametrize(("comment", "value"), [("the p99 is fine ", "approved: the p99 is fine"), (" ", "approved")])
def test_deciding_is_editing_the_tag(filled: Filled, comment: str, value: str) -> None:
    registry, version, _ = asked(filled)

    registry.decide(version, REQUEST, approve=True, comment=comment)

    page = registry.page(version)
    assert page.approval == value
    assert [(d.approved, d.comment) for d in page.decisions] == [(True, comment.strip())]


def test_rejecting_is_deciding_too(filled: Filled) -> None:
    registry, version, _ = asked(filled)
    registry.decide(version, REQUEST, approve=False, comment="not before: monday")

    assert [(d.approved, d.comment) for d in registry.page(version).decisions] == [(False, "not before: monday")]


def test_what_is_not_asked_is_not_decided(filled: Filled) -> None:
    registry, version, _ = asked(filled)
    with pytest.raises(Refused):
        registry.decide(version, replace(REQUEST, step=1), approve=True, comment="")
    with pytest.raises(Refused):
        registry.decide(registry.resolve("fraud", "1"), REQUEST, approve=True, comment="")
    _says(registry, version, WRITING)
    with pytest.raises(Refused, match=r"[Ww]ait a moment"):
        registry.decide(version, REQUEST, approve=True, comment="")
    registry.close(version, REQUEST, "void: expired")
    with pytest.raises(Refused):
        registry.decide(version, REQUEST, approve=True, comment="")

    assert registry.page(version).approval == "void: expired"


def test_the_files_of_a_version_are_hashed_as_they_were_fetched(filled: Filled) -> None:
    registry = filled(2)
    version = registry.resolve("fraud", "1")

    assert registry.digest(version) == registry.fetch(version).digest
    assert registry.digest(version) == registry.digest(version)


def test_what_is_recorded_says_where_it_is(filled: Filled, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # MLflow's default for artifacts beside a database is ./mlruns
    registry = filled(1)

    run = registry.record(registry.resolve("fraud", "1"), "approval-1", {"evidence.json": b"{}"})

    assert run == Run(run.experiment, run.id, "lockgate/approval-1")
    assert run.experiment
    assert run.id


def test_a_rollout_is_announced_until_it_is_over(filled: Filled) -> None:
    registry = filled(1)
    assert registry.announced("fraud") == ""
    for rollout in ("r-1", "r-1", "r-2", "", ""):
        registry.announce("fraud", rollout)
        assert registry.announced("fraud") == rollout

    with pytest.raises(NoSuchVersion):
        registry.announce("other", "r-1")


def test_versions_that_are_not_there_have_no_page(filled: Filled) -> None:
    registry = filled(1)
    gone = ModelVersion("fraud", "7", "x")
    for verb in (
        lambda: registry.page(gone),
        lambda: registry.ask(gone, REQUEST, EVIDENCE),
        lambda: registry.close(gone, REQUEST, "void"),
        lambda: registry.decide(gone, REQUEST, approve=True, comment=""),
        lambda: registry.digest(gone),
    ):
        with pytest.raises(NoSuchVersion):
            verb()
