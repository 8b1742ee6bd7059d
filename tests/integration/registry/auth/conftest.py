"""A real `mlflow server --app-name lockgate-auth`, one for all tests, and the people who use it.

alice registers models; bob and carol are risk-leads; dave has no role; gail may break the glass; pipeline is the
pipeline's own user; root is the administrator.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.registry.approvals import APPROVAL, DECISIONS, REQUEST, Request

KEY = "the key of these tests, and of nothing else"
PASSWORD = "a password of twelve characters"  # noqa: S105 - of people who live as long as the tests
_EDIT = (("registered_model", "READ"), ("registered_model_version", "EDIT"))
_MANAGE = (("registered_model", "MANAGE"), ("registered_model_version", "MANAGE"), ("experiment", "MANAGE"))
ROLES = {"risk-leads": _EDIT, "lockgate-pipeline": _MANAGE, "lockgate-break-glass": _MANAGE}
PEOPLE = {
    "alice": (),
    "bob": ("risk-leads",),
    "carol": ("risk-leads",),
    "dave": (),
    "gail": ("lockgate-break-glass",),
    "pipeline": ("lockgate-pipeline",),
}


def environment(servers: Any, folder: Path, **more: str) -> dict[str, str]:
    """What the server is started with: nothing of the machine's own MLflow."""
    settings = folder / "auth.ini"
    settings.write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder / 'people.db'}\nadmin_username = root\n"
        # Or each request checks a password anew, which is slow on purpose.
        "auth_cache_ttl_seconds = 600\n"
    )
    quiet: dict[str, str] = servers.quiet()
    return quiet | {
        "MLFLOW_AUTH_CONFIG_PATH": str(settings),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "of these tests",
        "PYTHONPATH": _registered(folder),
        **more,
    }


def _registered(folder: Path) -> str:
    """Where MLflow finds the plugin; nowhere else where Lockgate is installed with it."""
    if any(found.name == "lockgate-auth" for found in entry_points(group="mlflow.app")):
        return ""
    info = folder / "plugin" / "lockgate_auth_of_tests-0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lockgate-auth-of-tests\nVersion: 0\n")
    (info / "entry_points.txt").write_text("[mlflow.app]\nlockgate-auth = lockgate.registry.auth.app:create_app\n")
    return str(info.parent)


def started(servers: Any, folder: Path, plugin: str = "lockgate-auth", **more: str) -> Any:
    """A server that knows these people. `servers`: the module `served.py`."""
    port = servers.free_port()
    command = servers.mlflow(port, f"sqlite:///{folder / 'mlflow.db'}", folder / "files")
    surroundings = environment(servers, folder, LOCKGATE_APPROVAL_KEY=KEY, **more)
    return servers.Started(f"http://127.0.0.1:{port}", folder, [*command, "--app-name", plugin], surroundings)


class Someone:
    """A person at MLflow's REST interface."""

    def __init__(self, name: str, uri: str) -> None:
        self.name = name
        self.http = httpx.Client(base_url=uri, auth=(name, PASSWORD), timeout=30)

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> httpx.Response:
        content = None if body is None else json.dumps(body)
        head = {"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}}
        return self.http.request(method, f"/api/2.0/mlflow/{path}", content=content, headers=head)

    def tag(self, model: str, key: str, value: str, version: str = "1", **headers: str) -> httpx.Response:
        body = {"name": model, "version": version, "key": key, "value": value}
        return self.call("POST", "model-versions/set-tag", body, **headers)

    def decide(self, model: str, value: str, **headers: str) -> httpx.Response:
        return self.tag(model, APPROVAL, value, **headers)

    def untag(self, model: str, key: str, version: str = "1") -> httpx.Response:
        return self.call("DELETE", "model-versions/delete-tag", {"name": model, "version": version, "key": key})

    def model_tag(self, model: str, key: str, value: str) -> httpx.Response:
        return self.call("POST", "registered-models/set-tag", {"name": model, "key": key, "value": value})

    def point(self, model: str, alias: str, version: str = "1") -> httpx.Response:
        return self.call("POST", "registered-models/alias", {"name": model, "alias": alias, "version": version})

    def unpoint(self, model: str, alias: str) -> httpx.Response:
        return self.call("DELETE", "registered-models/alias", {"name": model, "alias": alias})

    def register(self, model: str, source: str = "", tags: Mapping[str, str] | None = None) -> httpx.Response:
        body: dict[str, Any] = {"name": model, "source": source or "s3://bucket/model"}
        if tags is not None:
            body["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
        return self.call("POST", "model-versions/create", body)

    def describe(self, model: str, text: str, version: str = "1") -> httpx.Response:
        body = {"name": model, "version": version, "description": text}
        return self.call("PATCH", "model-versions/update", body)

    def delete_version(self, model: str, version: str = "1") -> httpx.Response:
        return self.call("DELETE", "model-versions/delete", {"name": model, "version": version})

    def delete_model(self, model: str) -> httpx.Response:
        return self.call("DELETE", "registered-models/delete", {"name": model})

    def tags(self, model: str, version: str = "1") -> dict[str, str]:
        found = self.call("GET", f"model-versions/get?name={model}&version={version}").json()["model_version"]
        return {tag["key"]: tag["value"] for tag in found.get("tags", [])}

    def audit(self, model: str = "", **more: str) -> dict[str, Any]:
        query = {"model": model, **more} if model else more
        answer = self.http.get("/ajax-api/lockgate/audit", params=query)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found


@dataclass(frozen=True)
class World:
    server: Any
    alice: Someone
    bob: Someone
    carol: Someone
    dave: Someone
    gail: Someone
    pipeline: Someone
    root: Someone

    def ask(self, model: str, version: str = "1", **more: Any) -> Request:
        """The pipeline asks for an approval, as `MlflowRegistry.ask` does."""
        now = time.time()
        fields = {"rollout": "r-1", "step": 1, "digest": "d" * 64, "artifact": "a" * 64, "role": "risk-leads"} | more
        request = Request(**{"asked_at": now, "expires_at": now + 3600} | fields)
        for key, value in ((REQUEST, request.text()), (DECISIONS, "[]"), (APPROVAL, "pending")):
            assert self.pipeline.tag(model, key, value, version).is_success
        return request

    def forget_author(self, model: str) -> None:
        """As if the version had been registered before the server had the plugin."""
        with closing(sqlite3.connect(self.server.folder / "mlflow.db")) as db:
            db.execute("DELETE FROM model_version_tags WHERE name = ? AND key = 'lockgate.author'", (model,))
            db.commit()

    def rows(self, model: str) -> list[dict[str, Any]]:
        """Of the audit, oldest first."""
        found: list[dict[str, Any]] = self.root.audit(model)["rows"]
        return found[::-1]


def _admin(root: Someone, path: str, body: Mapping[str, Any]) -> Any:
    answer = root.http.post(f"/api/{path}", json=body)
    assert answer.is_success, answer.text
    return answer.json()


def _people(root: Someone) -> None:
    numbers = {}
    for role, permissions in ROLES.items():
        made = _admin(root, "3.0/mlflow/roles/create", {"name": role, "workspace": "default"})
        numbers[role] = made["role"]["id"]
        for kind, permission in permissions:
            grant = {"role_id": numbers[role], "resource_type": kind, "resource_pattern": "*", "permission": permission}
            _admin(root, "3.0/mlflow/roles/permissions/add", grant)
    for name, roles in PEOPLE.items():
        _admin(root, "2.0/mlflow/users/create", {"username": name, "password": PASSWORD})
        for role in roles:
            _admin(root, "3.0/mlflow/roles/assign", {"username": name, "role_id": numbers[role]})


@pytest.fixture(scope="session")
def world(servers: Any, template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("auth")
    shutil.copy(template, folder / "mlflow.db")
    server = started(servers, folder)
    try:
        server.wait()
        root = Someone("root", server.uri)
        _people(root)
        people = {name: Someone(name, server.uri) for name in PEOPLE}
        yield World(server, root=root, **people)
        for person in (root, *people.values()):
            person.http.close()
    finally:
        server.stop()


@pytest.fixture(scope="session")
def server_of(servers: Any) -> Callable[..., Any]:
    return partial(started, servers)


@pytest.fixture
def model(world: World, numbers: Iterator[int]) -> str:
    """A registered model of alice's with one version, and a name that no other test has."""
    name = f"model-{next(numbers)}"
    assert world.alice.call("POST", "registered-models/create", {"name": name}).is_success
    assert world.alice.register(name).is_success
    return name


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return itertools.count(1)


Refusal = Callable[[httpx.Response], str]


def refused(answer: httpx.Response) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == 403, f"{answer.status_code}: {answer.text}"
    body = answer.json()
    assert body["error_code"] == "PERMISSION_DENIED"
    message: str = body["message"]
    return message


@pytest.fixture(scope="session", name="refused")
def _refused() -> Refusal:
    return refused
