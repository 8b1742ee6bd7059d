"""Files of a version that people decide on, or have approved, are not overwritten through MLflow's server.

Only there: whoever may write to the bucket itself does not come by here. That is why the pipeline hashes the files anew
before it promotes them; this only stops the accident, and the attempt that leaves a trace.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Any

from lockgate.registry.approvals import APPROVAL, PENDING
from lockgate.registry.auth import places, standing
from lockgate.registry.auth.asked import asked
from lockgate.registry.auth.audit import Audit, Entry
from lockgate.registry.auth.errors import Unrecorded
from lockgate.registry.auth.places import PROXY, Place
from lockgate.registry.auth.recording import from_where
from lockgate.registry.auth.words import PIPELINE

_LOG = logging.getLogger("lockgate.auth")
_OVERWRITE, _DELETE = "overwrite artifact", "delete artifact"
_UPLOAD, _PRESIGNED = "serve_upload_artifact", "_create_presigned_upload_url"
_ENDPOINTS = {
    "_upload_artifact": _OVERWRITE,
    "_delete_artifact_mlflow_artifacts": _DELETE,
    "_create_multipart_upload_artifact": _OVERWRITE,
    "_complete_multipart_upload_artifact": _OVERWRITE,
    _UPLOAD: _OVERWRITE,
    _PRESIGNED: _OVERWRITE,
}


class Artifacts:
    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def refused(self, place: Place, user: str, operation: str, address: str | None) -> str:
        """Why this person may not write there; empty when they may. Raises `Unrecorded`."""
        version = _protected(place, whole=operation == _DELETE)
        if version is None:
            return ""
        person = standing.person(user)
        if PIPELINE in person.roles:
            return ""
        reason = (
            f"the files of {version.name} version {version.version} are what people decide on ({APPROVAL} says "
            f"{version.tags.get(APPROVAL, '')[:40]!r}); log the model again as a new version"
        )
        path = "/".join(place[1:])
        row = Entry(time.time(), user, tuple(person.roles), operation, version.name, str(version.version), path)
        self._audit.append(from_where(replace(row, outcome="refused", reason=reason), address, None))
        return reason


def install(app: Any, fastapi: Any, audit: Audit) -> None:
    """FastAPI takes uploads, Flask the rest; both after basic-auth has said who it is."""
    from mlflow.server.handlers import catch_mlflow_exception
    from starlette.middleware import Middleware

    watch = Artifacts(audit)
    app.before_request(catch_mlflow_exception(lambda: _flask(watch)))
    fastapi.user_middleware.append(Middleware(_Uploads, watch=watch))


class _Uploads:
    """ASGI. The last of the middlewares, so that basic-auth's has put the user's name into the request's state."""

    def __init__(self, app: Any, watch: Artifacts) -> None:
        self._app, self._watch = app, watch

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        found = PROXY.search(scope.get("path", "")) if scope["type"] == "http" and scope["method"] == "PUT" else None
        if found is not None and (answer := await self._answer(found[1], scope)) is not None:
            await answer(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _answer(self, path: str, scope: Any) -> Any:
        from anyio.to_thread import run_sync
        from starlette.responses import JSONResponse

        user = scope.get("state", {}).get("username", "")
        address = (scope.get("client") or ("",))[0]
        try:
            reason = await run_sync(self._watch.refused, _safe(path), user, _OVERWRITE, address)
        except Unrecorded as error:
            return JSONResponse(_unrecorded(error), 503)
        return JSONResponse(_body("PERMISSION_DENIED", reason), 403) if reason else None


def _flask(watch: Artifacts) -> Any:
    from flask import g, jsonify, request

    operation = _ENDPOINTS.get(request.endpoint or "")
    if operation is None:
        return None
    user = g.get("mlflow_authenticated_user", "")
    try:
        reason = watch.refused(_wanted(request), user, operation, request.remote_addr)
    except Unrecorded as error:
        return jsonify(_unrecorded(error)), 503
    return (jsonify(_body("PERMISSION_DENIED", reason)), 403) if reason else None


def _wanted(request: Any) -> Place:
    """Where the request would write; empty where MLflow refuses it by itself."""
    if request.endpoint == _UPLOAD:
        run, path = request.args.get("run_uuid", ""), request.args.get("path", "")
        return _safe(path, places.of_run(run))
    if request.endpoint == _PRESIGNED:
        from mlflow.protos.service_pb2 import CreatePresignedUploadUrl
        from mlflow.server.handlers import _get_request_message

        asks = _get_request_message(CreatePresignedUploadUrl())
        return _safe(asks.path, places.of_run(asks.run_id) if asks.run_id else places.of_model(asks.model_id))
    return _safe((request.view_args or {}).get("artifact_path", ""))


def _safe(path: str, root: Place | None = None) -> Place:
    """As MLflow reads it; of its artifact proxy, where no `root` is given."""
    from mlflow import MlflowException
    from mlflow.utils.uri import validate_path_is_safe

    try:
        path = validate_path_is_safe(path)
    except MlflowException:
        return ()  # MLflow refuses it too
    return places.proxied(path) if root is None else places.below(root, path)


def _protected(place: Place, *, whole: bool) -> Any:
    """The version that is asked for or approved and whose files are at `place`, or below it where `whole`."""
    if not place:
        return None
    for version in places.near(place, whole=whole):
        root = places.of_version(version) if _decided(version) else ()
        shared = min(len(root), len(place)) if whole else len(root)
        if root and place[:shared] == root[:shared]:
            return version
    return None


def _decided(version: Any) -> bool:
    said = str(version.tags.get(APPROVAL, ""))
    if said != PENDING:
        return said.lower().startswith("approved")
    return asked(version.tags, standing.open_rollout(version.name), time.time()) is not None


def _unrecorded(error: Unrecorded) -> dict[str, str]:
    _LOG.error("the audit cannot be written: %s", error)
    return _body("TEMPORARILY_UNAVAILABLE", f"the audit cannot be written ({error})")


def _body(code: str, reason: str) -> dict[str, str]:
    return {"error_code": code, "message": f"Lockgate: {reason}."}
