"""Aliases, copies, deletion and files, on the real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from lockgate.registry.approvals import APPROVAL

Refusal = Callable[[httpx.Response], str]


def test_plain_mlflow_is_as_it_was(world: Any, model: str) -> None:
    alice = world.alice
    assert alice.tag(model, "team", "risk").is_success
    assert alice.tag(model, "approval", "approved").is_success
    assert alice.untag(model, "team").is_success
    assert alice.model_tag(model, "owner", "alice").is_success
    assert alice.point(model, "champion").is_success
    assert alice.point(model, "nightly").is_success
    assert alice.unpoint(model, "champion").is_success
    description = {"name": model, "description": "scores"}
    assert alice.call("PATCH", "registered-models/update", description).is_success
    stage = {"name": model, "version": "1", "stage": "Staging", "archive_existing_versions": False}
    assert alice.call("POST", "model-versions/transition-stage", stage).is_success
    assert alice.call("POST", "registered-models/get-latest-versions", {"name": model}).is_success
    assert alice.register(model, tags={"run": "7"}).json()["model_version"]["version"] == "2"
    assert alice.tags(model, "2") == {"run": "7", "lockgate.author": "alice"}
    assert alice.tags(model) == {"approval": "approved", "lockgate.author": "alice"}
    renamed = {"name": model, "new_name": f"{model}-renamed"}
    assert alice.call("POST", "registered-models/rename", renamed).is_success
    assert alice.delete_version(f"{model}-renamed").is_success
    assert alice.call("DELETE", "registered-models/delete", {"name": f"{model}-renamed"}).is_success


def test_a_prompt_gets_no_author(world: Any, numbers: Any) -> None:
    name, mark = f"prompt-{next(numbers)}", {"mlflow.prompt.is_prompt": "true", "mlflow.prompt.text": "hello"}
    tags = [{"key": key, "value": value} for key, value in mark.items()]
    assert world.alice.call("POST", "registered-models/create", {"name": name, "tags": tags}).is_success

    assert world.alice.register(name, "prompt-template", mark).is_success

    assert "lockgate.author" not in world.alice.tags(name)


def test_the_champion_is_the_pipelines_while_a_rollout_is_open(world: Any, model: str, refused: Refusal) -> None:
    assert world.alice.point(model, "champion").is_success
    assert world.pipeline.model_tag(model, "lockgate.open", "r-9").is_success

    for person in (world.alice, world.root):
        assert "while the rollout r-9 is open" in refused(person.point(model, "champion"))
        assert "while the rollout r-9 is open" in refused(person.unpoint(model, "champion"))
    assert world.alice.point(model, "challenger").is_success
    assert world.pipeline.point(model, "champion").is_success
    assert world.gail.point(model, "champion").is_success

    rows = [(r["user"], r["key"], r["old"], r["new"], r["outcome"]) for r in world.rows(model)]
    assert ("alice", "@champion", None, "1", "allowed") in rows
    assert ("alice", "@challenger", None, "1", "allowed") in rows
    assert ("root", "@champion", "1", None, "refused") in rows
    assert rows[-1] == ("gail", "@champion", "1", "1", "break-glass")


def test_what_lockgate_never_saw_is_its_owners(world: Any, model: str) -> None:
    rename = {"name": model, "new_name": f"{model}-x"}
    assert world.alice.point(model, "champion").is_success

    assert world.alice.call("POST", "registered-models/rename", rename).is_success
    assert world.alice.delete_version(f"{model}-x").is_success
    assert world.alice.register(f"{model}-x").is_success
    assert world.alice.point(f"{model}-x", "champion", "2").is_success
    assert world.alice.delete_model(f"{model}-x").is_success


def test_the_owner_does_not_remove_what_serves(world: Any, model: str, refused: Refusal) -> None:
    assert world.alice.point(model, "champion").is_success
    assert world.alice.register(model).is_success
    assert world.pipeline.tag(model, "lockgate.rollout", "r-1", "2").is_success
    rename = {"name": model, "new_name": f"{model}-x"}

    assert f"{model} version 1 is @champion" in refused(world.alice.delete_version(model))
    assert "while it has a @champion" in refused(world.alice.call("POST", "registered-models/rename", rename))
    assert "while it has a @champion and Lockgate rolls it out" in refused(world.root.delete_model(model))
    assert world.alice.tags(model)
    assert world.gail.delete_version(model).is_success
    assert world.rows(model)[-1]["outcome"] == "break-glass"


def test_what_is_rolled_out_is_not_removed(world: Any, model: str, refused: Refusal) -> None:
    assert world.pipeline.model_tag(model, "lockgate.open", "r-9").is_success
    assert world.pipeline.tag(model, "lockgate.rollout", "r-9").is_success

    assert "is part of the open rollout r-9" in refused(world.alice.delete_version(model))
    assert "while the rollout r-9 is open" in refused(
        world.alice.call("DELETE", "registered-models/delete", {"name": model})
    )

    gone = {"name": model, "key": "lockgate.open"}
    assert world.pipeline.call("DELETE", "registered-models/delete-tag", gone).is_success
    assert world.alice.delete_version(model).is_success


def test_what_is_asked_about_is_not_removed_with_its_model(world: Any, numbers: Any, refused: Refusal) -> None:
    name = f"it's {next(numbers)}"
    assert world.alice.call("POST", "registered-models/create", {"name": name}).is_success
    assert world.alice.register(name).is_success
    assert world.alice.register(name).is_success
    world.ask(name, "2")
    rename = {"name": name, "new_name": f"{name}-x"}

    told = f"{name} is not deleted while the rollout r-1 asks people to approve version 2 of it"
    assert told in refused(world.alice.delete_model(name))
    assert "is not renamed" in refused(world.alice.call("POST", "registered-models/rename", rename))
    assert "is part of the open rollout r-1" in refused(world.alice.delete_version(name, "2"))

    assert world.bob.tag(name, APPROVAL, "rejected", "2").is_success
    assert world.alice.delete_model(name).is_success


def test_a_page_that_nobody_closed_locks_nothing_for_ever(world: Any, numbers: Any, refused: Refusal) -> None:
    name, alice = f"left-{next(numbers)}", world.alice
    put = f"{_logged(alice, name)[1]}/model/weights"
    world.ask(name, expires_at=1_700_000_000.0)
    assert world.pipeline.model_tag(name, "lockgate.open", "r-1").is_success, "what it is about is not over"
    assert "is the evidence" in refused(alice.describe(name, "mine"))
    assert "what people decide on" in refused(alice.http.put(put, content=b"two"))
    assert world.pipeline.model_tag(name, "lockgate.open", "r-2").is_success

    assert alice.describe(name, "mine").is_success
    assert alice.http.put(put, content=b"two").is_success
    assert alice.delete_version(name).is_success


def test_a_copied_approval_counts_for_nothing(world: Any, model: str) -> None:
    world.ask(model)
    assert world.bob.decide(model, "approved").is_success
    copied = world.alice.tags(model) | {"team": "risk"}

    assert world.alice.register(model, f"models:/{model}/1", copied).is_success

    assert world.alice.tags(model, "2") == {
        "team": "risk",
        "lockgate.author": "alice",
        "lockgate.alert": f"an approval of {model} version 1 was copied with its tags; it does not count here",
    }
    assert [(r["operation"], r["version"]) for r in world.rows(model)[-2:]] == [
        ("register version", ""),
        ("registered", "2"),
    ]
    assert "was copied with its tags" in world.rows(model)[-1]["reason"]


@pytest.mark.parametrize("tags", [{"key": APPROVAL}, ["x"], [{"key": 5, "value": "x"}], [{"value": "x"}]])
def test_tags_that_cannot_be_read_register_nothing(world: Any, model: str, tags: object) -> None:
    body = {"name": model, "source": "s3://bucket/model", "tags": tags}

    assert world.alice.call("POST", "model-versions/create", body).status_code == 400

    assert world.alice.call("GET", f"model-versions/get?name={model}&version=2").status_code == 404


def test_what_mlflow_did_not_do_is_recorded_as_such(world: Any, model: str) -> None:
    assert world.alice.register(model, "file:///etc").status_code == 400

    assert [(r["operation"], r["outcome"]) for r in world.rows(model)[-2:]] == [
        ("register version", "allowed"),
        ("register version", "failed"),
    ]


def test_approved_files_are_not_overwritten(world: Any, numbers: Any, refused: Refusal) -> None:
    name, alice = f"files-{next(numbers)}", world.alice
    run = alice.call("POST", "runs/create", {"experiment_id": _experiment(alice, name)}).json()["run"]["info"]
    folder = run["artifact_uri"].removeprefix("mlflow-artifacts:/")
    put = f"/api/2.0/mlflow-artifacts/artifacts/{folder}"
    assert alice.http.put(f"{put}/model/weights", content=b"one").is_success
    assert alice.call("POST", "registered-models/create", {"name": name}).is_success
    body = {"name": name, "source": f"{run['artifact_uri']}/model", "run_id": run["run_id"]}
    assert alice.call("POST", "model-versions/create", body).is_success
    assert alice.http.put(f"{put}/model/weights", content=b"two").is_success
    world.ask(name)

    for path in (f"{put}/model/weights", put.replace("/api/", "/ajax-api/") + "/%6dodel/./x"):
        assert "log the model again as a new version" in refused(alice.http.put(path, content=b"three"))
    assert "log the model again as a new version" in refused(alice.http.delete(f"{put}/model"))
    assert alice.http.put(f"{put}/report/notes", content=b"mine").is_success
    assert world.pipeline.http.put(f"{put}/model/weights", content=b"two").is_success
    assert alice.http.get(f"{put}/model/weights").content == b"two"
    assert {(r["operation"], r["outcome"]) for r in world.rows(name) if r["user"] == "alice"} >= {
        ("overwrite artifact", "refused"),
        ("delete artifact", "refused"),
    }
    anonymous = httpx.put(f"{world.server.uri}{put}/model/weights", content=b"three")
    assert anonymous.status_code == 401


def _logged(person: Any, name: str, source: str = "{uri}/model") -> tuple[str, str]:
    """A registered model with one version whose files are in a run: the run, and the proxy's path of its files."""
    run = person.call("POST", "runs/create", {"experiment_id": _experiment(person, name)}).json()["run"]["info"]
    number, uri = run["run_id"], run["artifact_uri"]
    put = f"/api/2.0/mlflow-artifacts/artifacts/{uri.removeprefix('mlflow-artifacts:/')}"
    assert person.http.put(f"{put}/model/weights", content=b"one").is_success
    assert person.call("POST", "registered-models/create", {"name": name}).is_success
    body = {"name": name, "source": source.format(uri=uri, run=number), "run_id": number}
    assert person.call("POST", "model-versions/create", body).is_success
    return number, put


@pytest.mark.parametrize("source", ["{uri}/model", "runs:/{run}/model"])
def test_no_way_of_writing_gets_past_the_rule(world: Any, numbers: Any, refused: Refusal, source: str) -> None:
    name, alice = f"ways-{next(numbers)}", world.alice
    run, put = _logged(alice, name, source)
    assert _upload(alice, run, "model/weights").is_success
    world.ask(name)

    for path in ("model/weights", "model/./more", "%6dodel/weights"):
        assert "log the model again as a new version" in refused(_upload(alice, run, path))
    assert "log the model again as a new version" in refused(alice.http.put(f"{put}/model/weights", content=b"x"))
    assert "log the model again as a new version" in refused(alice.http.delete(put))
    presigned = {"run_id": run, "path": "model/weights"}
    asked = alice.call("POST", "artifacts/presigned-upload-url", presigned)
    assert "log the model again as a new version" in refused(asked)
    assert _upload(alice, run, "report/notes").is_success
    assert _upload(world.pipeline, run, "model/weights", b"by the pipeline").is_success
    assert alice.http.get(f"{put}/model/weights").content == b"by the pipeline"
    rows = [(r["operation"], r["outcome"]) for r in world.rows(name) if r["user"] == "alice"]
    assert rows.count(("overwrite artifact", "refused")) == 5


def _upload(person: Any, run: str, path: str, content: bytes = b"three") -> httpx.Response:
    """As MLflow's UI does."""
    found: httpx.Response = person.http.post(
        "/ajax-api/2.0/mlflow/upload-artifact", params={"run_uuid": run, "path": path}, content=content
    )
    return found


def test_the_files_of_a_logged_model_and_of_its_copy_are_the_same(world: Any, numbers: Any, refused: Refusal) -> None:
    name, copy, alice = f"logged-{next(numbers)}", f"copy-{next(numbers)}", world.alice
    made = alice.call("POST", "logged-models", {"experiment_id": _experiment(alice, name), "name": "m"})
    it = made.json()["model"]["info"]
    put = f"/api/2.0/mlflow-artifacts/artifacts/{it['artifact_uri'].removeprefix('mlflow-artifacts:/')}/weights"
    for model, more in ((name, {"source": f"models:/{it['model_id']}", "model_id": it["model_id"]}), (copy, {})):
        assert alice.call("POST", "registered-models/create", {"name": model}).is_success
        body = {"name": model, "source": f"models:/{name}/1", **more}
        assert alice.call("POST", "model-versions/create", body).is_success
    assert alice.http.put(put, content=b"one").is_success
    world.ask(copy)

    assert f"the files of {copy} version 1" in refused(alice.http.put(put, content=b"two"))
    assert world.bob.decide(copy, "rejected").is_success
    assert alice.http.put(put, content=b"two").is_success
    world.ask(name)
    assert f"the files of {name} version 1" in refused(alice.http.put(put, content=b"three"))
    for method, sent in (
        ("DELETE", None),
        ("PATCH", {"model_id": it["model_id"], "status": "LOGGED_MODEL_UPLOAD_FAILED"}),
    ):
        assert f"{name} version 1, which people are asked to approve, was logged there" in refused(
            alice.call(method, f"logged-models/{it['model_id']}", sent)
        )


def test_where_it_was_logged_stays_while_people_decide(world: Any, numbers: Any, refused: Refusal) -> None:
    name, alice = f"origin-{next(numbers)}", world.alice
    run, _ = _logged(alice, name)
    experiment = alice.call("GET", f"runs/get?run_id={run}").json()["run"]["info"]["experiment_id"]
    other = alice.call("POST", "runs/create", {"experiment_id": experiment}).json()["run"]["info"]["run_id"]
    world.ask(name)

    for path, body in (("runs/delete", {"run_id": run}), ("experiments/delete", {"experiment_id": experiment})):
        told = refused(alice.call("POST", path, body))
        assert f"{name} version 1, which people are asked to approve, was logged there" in told
    assert alice.call("POST", "runs/delete", {"run_id": other}).is_success
    assert [(r["operation"], r["key"]) for r in world.rows(name)[-2:]] == [
        ("delete run", run),
        ("delete experiment", experiment),
    ]
    assert world.gail.call("POST", "runs/delete", {"run_id": run}).is_success
    assert world.rows(name)[-1]["outcome"] == "break-glass"
    assert alice.call("POST", "runs/restore", {"run_id": run}).is_success
    assert world.bob.decide(name, "rejected").is_success
    assert alice.call("POST", "runs/delete", {"run_id": run}).is_success


def _experiment(person: Any, name: str) -> str:
    made: str = person.call("POST", "experiments/create", {"name": name}).json()["experiment_id"]
    return made
