"""Runs, logged models and experiments stay while people decide on a version that was logged there.

MLflow only marks them as deleted, and `mlflow gc` removes their files later: what was approved would be gone by then.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from lockgate.registry.auth import places, standing
from lockgate.registry.auth.asked import asked
from lockgate.registry.auth.audit import Audit, Entry
from lockgate.registry.auth.errors import Unrecorded
from lockgate.registry.auth.recording import from_where
from lockgate.registry.auth.words import BREAK_GLASS, PIPELINE

_LOG = logging.getLogger("lockgate.auth")
_ENDPOINTS = {
    "_delete_run": ("delete run", "run_id"),
    "_delete_experiment": ("delete experiment", "experiment_id"),
    "_delete_logged_model": ("delete logged model", "model_id"),
    "_finalize_logged_model": ("finalize logged model", "model_id"),
}


class Origins:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def refused(self, operation: str, field: str, value: str, asks: tuple[str, str | None]) -> str:
        """Why it stays as it is; empty where it need not. `asks`: who, and from which address. Raises `Unrecorded`."""
        version = _needed(field, value)
        person = standing.person(asks[0])
        if version is None or PIPELINE in person.roles:
            return ""
        glass = BREAK_GLASS in person.roles
        reason = (
            f"{version.name} version {version.version}, which people are asked to approve, was logged there; let them "
            "decide first"
        )
        row = Entry(time.time(), asks[0], tuple(person.roles), operation, version.name, str(version.version), value)
        row = replace(row, outcome="break-glass" if glass else "refused", reason=reason)
        self._audit.append(from_where(row, asks[1], None))
        return "" if glass else reason


def install(app: Any, audit: Audit) -> None:
    """After basic-auth's own hook: what it refuses never comes here."""
    from mlflow.server.handlers import catch_mlflow_exception

    watch = Origins(audit)
    app.before_request(catch_mlflow_exception(lambda: _answer(watch)))


def _answer(watch: Origins) -> Any:
    from flask import g, jsonify, request

    user = g.get("mlflow_authenticated_user", "")
    if request.endpoint not in _ENDPOINTS or not user:
        return None
    operation, field = _ENDPOINTS[request.endpoint]
    value = (request.view_args or {}).get(field) or _sent(request.endpoint, field)
    try:
        reason = watch.refused(operation, field, value, (user, request.remote_addr))
    except Unrecorded as error:
        _LOG.exception("the audit cannot be written")
        message = f"Lockgate: the audit cannot be written, so nothing was done ({error})."
        return jsonify(error_code="TEMPORARILY_UNAVAILABLE", message=message), 503
    return (jsonify(error_code="PERMISSION_DENIED", message=f"Lockgate: {reason}."), 403) if reason else None


def _sent(endpoint: str, field: str) -> str:
    """By MLflow's own parser: what we judge is what MLflow does."""
    from mlflow.protos import service_pb2
    from mlflow.server.handlers import _get_request_message

    messages: dict[str, Any] = {
        "_delete_run": service_pb2.DeleteRun,
        "_delete_experiment": service_pb2.DeleteExperiment,
    }
    return str(getattr(_get_request_message(messages[endpoint]()), field)) if endpoint in messages else ""


def _needed(field: str, value: str) -> Any:
    """A version that people are asked about, and that was logged there."""
    for version in places.pending():
        here = asked(version.tags, standing.open_rollout(version.name), time.time())
        if here and value and value in _logged(version, field):
            return version
    return None


def _logged(version: Any, field: str) -> set[str]:
    """The runs, the logged model or the experiments that a version was logged in."""
    if field != "experiment_id":
        own = version.run_id if field == "run_id" else getattr(version, "model_id", None)
        return {str(own), *places.of_version(version)}
    from mlflow import MlflowException
    from mlflow.server.handlers import _get_tracking_store

    try:
        return {str(_get_tracking_store().get_run(version.run_id).info.experiment_id)} if version.run_id else set()
    except MlflowException:
        return set()
