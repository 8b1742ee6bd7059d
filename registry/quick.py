"""What `lockgate plan` asks of MLflow, without importing it: that import alone costs a second of CPU.

Whatever is not plainly known here answers None, and the caller asks `MlflowRegistry`, which also has the sentences.
An alias that is not set is plainly known: looking for one every other second must not take MLflow.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from typing import Any
from urllib.parse import quote

from .errors import NoSuchVersion
from .location import locate, sqlite_file
from .words import ModelVersion

_DELETED = "Deleted_Internal"
_WORKSPACE = "default"
_SECONDS = 5.0
_LATEST = "@latest"
"""MLflow makes it up: no row says it."""
# Ways to reach a server that only MLflow knows.
_SPECIAL = (
    "MLFLOW_ENABLE_WORKSPACES",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
    "MLFLOW_TRACKING_INSECURE_TLS",
    "MLFLOW_TRACKING_SERVER_CERT_PATH",
    "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "MLFLOW_WORKSPACE",
)


def resolve_quickly(tracking_uri: str | None, name: str, references: Sequence[str]) -> list[ModelVersion] | None:
    """The versions that aliases (`@champion`) or numbers name now, in their order; None when it takes MLflow to say.

    Raises `NoSuchVersion` for an alias that is not set.
    """
    if any(os.environ.get(variable) for variable in _SPECIAL):
        return None
    uri = locate(tracking_uri).registry
    if uri.startswith(("http://", "https://")):
        return _from_server(uri, name, references)
    return _from_sqlite(uri, name, references)


def _from_sqlite(uri: str, name: str, references: Sequence[str]) -> list[ModelVersion] | None:
    path = sqlite_file(uri)
    if path is None or not path.is_file():
        return None
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=_SECONDS)) as database:
            found = [_row(database, name, reference) for reference in references]
    except sqlite3.Error:
        return None
    return [version for version in found if version is not None] if None not in found else None


def _row(database: sqlite3.Connection, name: str, reference: str) -> ModelVersion | None:
    key = (_WORKSPACE, name)
    aliases = database.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?", key
    ).fetchall()
    number = dict(aliases).get(reference[1:]) if reference.startswith("@") else int(reference)
    if number is None and reference.lower() != _LATEST:
        raise _unset(name, reference)
    row = database.execute(
        "SELECT version, source, run_id FROM model_versions "
        "WHERE workspace = ? AND name = ? AND version = ? AND current_stage != ?",
        (*key, number, _DELETED),
    ).fetchone()
    if row is None:
        return None
    tags = database.execute(
        "SELECT key, value FROM model_version_tags WHERE workspace = ? AND name = ? AND version = ?", (*key, number)
    ).fetchall()
    names = tuple(sorted(alias for alias, version in aliases if version == number))
    return ModelVersion(name, str(row[0]), row[1] or "", row[2] or "", names, dict(tags))


def _unset(name: str, reference: str) -> NoSuchVersion:
    return NoSuchVersion(f"There is no {reference} of {name}")


def _from_server(uri: str, name: str, references: Sequence[str]) -> list[ModelVersion] | None:
    import httpx

    try:
        with httpx.Client(base_url=uri.rstrip("/"), timeout=_SECONDS, **_credentials()) as client:
            return [_asked(client, name, reference) for reference in references]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None


def _asked(client: Any, name: str, reference: str) -> ModelVersion:
    """Raises one of the above for any answer but a version or that an alias is not set."""
    if reference.startswith("@"):
        path, query = "registered-models/alias", {"name": name, "alias": reference[1:]}
    else:
        path, query = "model-versions/get", {"name": name, "version": reference}
    answer = client.get(f"/api/2.0/mlflow/{path}", params=query)
    if answer.is_client_error and reference.startswith("@") and _says_unset(answer.json(), reference[1:]):
        raise _unset(name, reference)
    found = answer.raise_for_status().json()["model_version"]
    return ModelVersion(
        name=found["name"],
        version=str(found["version"]),
        source=found.get("source", ""),
        run_id=found.get("run_id", ""),
        aliases=tuple(sorted(found.get("aliases", ()))),
        tags={tag["key"]: tag.get("value", "") for tag in found.get("tags", ())},
    )


def _says_unset(answer: dict[str, Any], alias: str) -> bool:
    """MLflow's own words: a proxy's 404, or a name that MLflow does not take, says nothing of the alias."""
    code, says = answer["error_code"], answer.get("message", "")
    if code == "INVALID_PARAMETER_VALUE":
        return bool(says == f"Registered model alias {alias} not found.")
    return bool(code == "RESOURCE_DOES_NOT_EXIST")


def _credentials() -> dict[str, Any]:
    """As MLflow takes them from the environment: user and password, else a token."""
    user, password = os.environ.get("MLFLOW_TRACKING_USERNAME"), os.environ.get("MLFLOW_TRACKING_PASSWORD")
    if user and password:
        return {"auth": (user, password)}
    token = os.environ.get("MLFLOW_TRACKING_TOKEN")
    return {"headers": {"Authorization": f"Bearer {token}"}} if token else {}
