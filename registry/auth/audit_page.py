"""The audit as JSON, for administrators: `GET ajax-api/lockgate/audit?model=fraud&limit=100&before=17`.

`&verify=true` reads the whole chain, and `&head=<hash that was noted earlier>` also whether its end was cut off.
"""

from __future__ import annotations

import re
from typing import Any

from lockgate.registry.auth.audit import Audit
from lockgate.registry.auth.chain import verify

PATH = "/ajax-api/lockgate/audit"
_MOST = 1000
_HASH = re.compile(r"[0-9a-f]{64}")


def install(app: Any, audit: Audit) -> None:
    from mlflow.server.handlers import _add_static_prefix

    app.add_url_rule(_add_static_prefix(PATH), "lockgate_audit", lambda: _answer(audit), methods=["GET"])


def _answer(audit: Audit) -> Any:
    """`rows` newest first; `next` is the `before` of the page after this one; `head` is worth noting elsewhere."""
    from flask import jsonify, request
    from mlflow.server.auth import sender_is_admin

    if not sender_is_admin():  # basic-auth refuses it already, unless MLFLOW_BASIC_AUTH_FAIL_CLOSED is false
        return jsonify(error_code="PERMISSION_DENIED", message="Lockgate: the audit is for administrators."), 403
    noted = request.args.get("head", "")
    if noted and not _HASH.fullmatch(noted):
        reason = "Lockgate: head is a hash of 64 hexadecimal digits, as this page answered it earlier in head.hash."
        return jsonify(error_code="INVALID_PARAMETER_VALUE", message=reason), 400
    limit = min(max(request.args.get("limit", 100, int), 1), _MOST)
    rows = audit.rows(request.args.get("model"), request.args.get("before", None, int), limit)
    sequence, digest = audit.head()
    answer: dict[str, Any] = {
        "rows": rows,
        "next": rows[-1]["sequence"] if len(rows) == limit else None,
        "head": {"sequence": sequence, "hash": digest},
    }
    if noted or request.args.get("verify") == "true":
        broken = verify(audit.engine, noted)
        answer["broken"] = None if broken is None else {"sequence": broken.sequence, "reason": broken.reason}
    return jsonify(answer)
