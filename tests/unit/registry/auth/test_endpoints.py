from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask, g

from lockgate.registry.auth import endpoints
from lockgate.registry.auth.audit import Audit
from lockgate.registry.auth.errors import NotStarted
from lockgate.registry.auth.guard import Guard, install
from lockgate.registry.client import quiet_import


@pytest.fixture(scope="module", autouse=True)
def _mlflow() -> None:
    quiet_import("mlflow.server.handlers")


@pytest.fixture
def app() -> Flask:
    made = Flask("mlflow")
    for number, name in enumerate(endpoints.RULED):
        made.add_url_rule(f"/api/2.0/mlflow/model-versions/{number}", name, lambda: "done", methods=["POST"])
    return made


def _flask(_path: str, _method: str) -> bool:
    return False


def test_mlflows_own_endpoints_are_all_known(app: Flask) -> None:
    handlers = quiet_import("mlflow.server.handlers")
    service = quiet_import("mlflow.protos.model_registry_pb2").ModelRegistryService
    for path, handler, methods in handlers.get_service_endpoints(service, handlers.get_handler):
        app.add_url_rule(path, f"{handler.__name__}", lambda: "done", methods=methods) if (
            handler.__name__ not in endpoints.RULED and handler.__name__ not in app.view_functions
        ) else None

    assert endpoints.check(app, _flask) == frozenset()


def test_an_endpoint_that_a_rule_hangs_on_must_be_there(app: Flask) -> None:
    del app.view_functions["_set_model_version_tag"]

    with pytest.raises(NotStarted, match="no endpoint _set_model_version_tag, and a rule of lockgate-auth hangs on it"):
        endpoints.check(app, _flask)


def test_a_field_that_a_rule_reads_must_be_there(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = endpoints.Endpoint("SetModelVersionTag", ("name", "sort"), lambda m: m)
    monkeypatch.setitem(endpoints.RULED, "_set_model_version_tag", odd)

    with pytest.raises(NotStarted, match="SetModelVersionTag without sort"):
        endpoints.check(app, _flask)


def test_what_would_not_come_to_our_rules_stops_the_start(app: Flask) -> None:
    app.add_url_rule("/api/2.0/mlflow/model-versions/<name>/tags", "_tags", lambda name: name, methods=["PUT"])
    asked: list[str] = []

    def native(path: str, method: str) -> bool:
        asked.append(f"{method} {path}")
        return method == "PUT"

    with pytest.raises(NotStarted, match=r"answers PUT .* before lockgate-auth can judge it \(_tags\)"):
        endpoints.check(app, native)
    assert "PUT /api/2.0/mlflow/model-versions/x/tags" in asked


@pytest.mark.parametrize("path", ["/api/4.0/mlflow/registered-models/merge", "/ajax-api/4.0/mlflow/model-versions"])
def test_what_is_new_and_changes_the_registry_is_found(app: Flask, path: str) -> None:
    app.add_url_rule(path, "_new", lambda: "done", methods=["POST"])
    app.add_url_rule(f"{path}/read", "_read", lambda: "done", methods=["GET"])
    app.add_url_rule("/api/2.0/mlflow/runs/create", "_create_run", lambda: "done", methods=["POST"])

    assert endpoints.check(app, _flask) == {"_new"}


def test_what_nobody_knows_is_refused_and_so_is_nobody(
    app: Flask, url: str, monkeypatch: pytest.MonkeyPatch, person_of: Callable[[pytest.MonkeyPatch], None]
) -> None:
    app.add_url_rule("/new", "_new", lambda: "done", methods=["POST"])
    audit = Audit(url)
    user = [""]
    app.before_request(lambda: g.__setattr__("mlflow_authenticated_user", user[0]))
    install(app, Guard(audit, b"0123456789abcdef", frozenset({"_new"})))
    person_of(monkeypatch)
    client = app.test_client()

    nobody = client.post("/api/2.0/mlflow/model-versions/0", json={"name": "fraud", "version": "1"})
    user[0] = "ann"
    unheard = client.post("/new")

    assert (nobody.status_code, nobody.json["message"]) == (403, "Lockgate: nobody is logged in.")
    assert unheard.status_code == 403
    assert "no rule of lockgate-auth knows _new" in unheard.json["message"]
    assert [(r["user"], r["operation"], r["outcome"]) for r in audit.rows()] == [("ann", "_new", "refused")]
    audit.engine.dispose()


@pytest.fixture
def person_of() -> Callable[[pytest.MonkeyPatch], None]:
    """Everybody has a name and no role: basic-auth's database is not here."""
    from lockgate.registry.auth import standing
    from lockgate.registry.auth.words import Person

    return lambda patch: patch.setattr(standing, "person", Person)
