"""Changes of who may do what: an administrator who takes a role, or another's password, leaves a trace first."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

from lockgate.registry.auth import standing
from lockgate.registry.auth.audit import Audit, Entry
from lockgate.registry.auth.errors import Unrecorded
from lockgate.registry.auth.recording import from_where

_LOG = logging.getLogger("lockgate.auth")
_ENDPOINTS = {
    "create_user",
    "delete_user",
    "update_user_password",
    "update_user_admin",
    "create_role",
    "update_role",
    "delete_role",
    "add_role_permission",
    "remove_role_permission",
    "update_role_permission",
    "assign_role",
    "unassign_role",
    "grant_user_permission",
    "revoke_user_permission",
}
_TOLD = ("username", "is_admin", "role_id", "name", "workspace", "resource_type", "resource_pattern", "permission")
"""What is kept of a request; everything else may be a password."""


def install(app: Any, audit: Audit) -> None:
    """After basic-auth's own hook: what it refuses never comes here."""
    app.before_request(lambda: _record(audit))


def _record(audit: Audit) -> Any:
    from flask import g, jsonify, request

    user = g.get("mlflow_authenticated_user")
    if request.endpoint not in _ENDPOINTS or not user:
        return None
    body = request.get_json(force=True, silent=True)
    asked = {**request.args.to_dict(), **(body if isinstance(body, dict) else {})}
    told = {key: asked[key] for key in _TOLD if key in asked}
    who = str(told.get("username") or told.get("name") or told.get("role_id") or "")
    roles = tuple(standing.person(user).roles)
    row = Entry(time.time(), user, roles, request.endpoint.replace("_", " "), "", key=who, new=json.dumps(told))
    try:
        audit.append(from_where(row, request.remote_addr, request.headers.get("X-Request-ID")))
    except Unrecorded as error:
        _LOG.exception("the audit cannot be written")
        message = f"Lockgate: the audit cannot be written, so nothing was done ({error})."
        return jsonify(error_code="TEMPORARILY_UNAVAILABLE", message=message), 503
    return None
