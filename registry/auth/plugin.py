"""MLflow's server with basic-auth and our rules, put together."""

from __future__ import annotations

import os
from typing import Any

from lockgate.registry.auth import artifacts, audit_page, endpoints, guard, origins, page, people, settings
from lockgate.registry.auth.audit import Audit
from lockgate.registry.auth.marked import Marked


def prepare() -> None:
    """Once, in the command, before any worker: what is wrong is said there, and databases are made by one process.

    A worker that dies while it starts would be started again for ever. Raises `NotStarted`, or MLflow's own error.
    """
    settings.key()
    settings.uvicorn()
    from mlflow.environment_variables import _MLFLOW_AUTH_ADMIN_BOOTSTRAPPED
    from mlflow.server.auth import bootstrap_admin_user, get_flask_server_secret_key

    get_flask_server_secret_key()
    bootstrap_admin_user()
    os.environ[_MLFLOW_AUTH_ADMIN_BOOTSTRAPPED.name] = "true"  # as MLflow does for its own basic-auth
    Audit(audit_url()).engine.dispose()


def create() -> Marked:
    """The application of one worker. Raises `NotStarted`."""
    settings.uvicorn()
    from mlflow.server import app, auth

    watch = Audit(audit_url())
    fastapi = auth.create_app(app)  # basic-auth's hooks come first: they say who it is
    unknown = endpoints.check(app, lambda path, method: _native(fastapi, path, method))
    watcher = guard.Guard(watch, settings.key(), unknown)
    app.before_request(page.whole)
    guard.install(app, watcher)
    artifacts.install(app, fastapi, watch)
    origins.install(app, watch)
    people.install(app, watch)
    app.after_request(page.with_bar)
    audit_page.install(app, watch)
    return Marked(fastapi)


def audit_url() -> str:
    from mlflow.server.auth import auth_config

    return os.environ.get(settings.AUDIT_URI) or str(auth_config.database_uri)


def _native(fastapi: Any, path: str, method: str) -> bool:
    """Whether FastAPI answers before Flask would."""
    from starlette.routing import Match, Mount

    scope = {"type": "http", "path": path, "method": method, "headers": [], "root_path": ""}
    return any(r.matches(scope)[0] == Match.FULL for r in fastapi.routes if not isinstance(r, Mount))
