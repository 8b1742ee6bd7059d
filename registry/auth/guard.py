"""Our hooks around MLflow's handlers: read, judge, record, and only then let MLflow do it."""

from __future__ import annotations

import logging
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from lockgate.registry.approvals import DECISIONS, SEEN, decisions_text, signed
from lockgate.registry.auth import endpoints, rewriting, standing
from lockgate.registry.auth.audit import Audit, Entry
from lockgate.registry.auth.errors import Busy, Unrecorded
from lockgate.registry.auth.locks import lock_of
from lockgate.registry.auth.recording import entry, from_where
from lockgate.registry.auth.rules import concerns, judge
from lockgate.registry.auth.words import Operation, Person, Register, Ruling, SetTag, Standing, ours

_LOG = logging.getLogger("lockgate.auth")
_DENIED, _UNAVAILABLE = 403, 503


@dataclass(frozen=True, slots=True)
class Judged:
    """What was let through to MLflow."""

    operation: Operation
    person: Person
    before: Standing
    ruling: Ruling


class Guard:
    """Flask's hooks. `before` must run after basic-auth's: who it is, and what MLflow itself refuses, is known then."""

    def __init__(self, audit: Audit, secret: bytes, unknown: frozenset[str]) -> None:
        self._audit, self._secret, self._unknown = audit, secret, unknown
        self._lock = lock_of(audit.engine)

    def before(self) -> Any:
        """None lets MLflow go on; anything else is the answer."""
        from flask import g, request

        name = request.endpoint or ""
        if name not in self._unknown and name not in endpoints.RULED:
            return None
        g.lockgate_came = True
        user = g.get("mlflow_authenticated_user")
        try:
            if not user:
                return _answer(_DENIED, "nobody is logged in")
            if name in self._unknown:
                return self._unheard(name, standing.person(user))
            operation = _operation(name)
            return self._judge(operation, standing.person(user)) if concerns(operation) else None
        except Busy as error:
            return _answer(_UNAVAILABLE, str(error))
        except Unrecorded as error:
            _LOG.exception("the audit cannot be written")
            return _answer(_UNAVAILABLE, f"the audit cannot be written, so nothing was done ({error})")

    def after(self, response: Any) -> Any:
        """MLflow has answered. What it did is in the audit already; what is done here mends and completes."""
        from flask import g

        judged = g.pop("lockgate", None)
        try:
            if judged is None:
                self._refused_by_mlflow(response)
            elif response.status_code >= 400:
                self._failed(judged, response)
            elif isinstance(judged.operation, Register):
                self._registered(judged, response.get_json()["model_version"])
        except Exception:  # noqa: BLE001 - MLflow has done it; it was recorded before, and what is missing is logged
            _LOG.exception("what MLflow answered could not be recorded")
        return response

    def teardown(self, _error: BaseException | None = None) -> None:
        from flask import g

        if (held := g.pop("lockgate_lock", None)) is not None:
            held.close()

    def _judge(self, operation: Operation, person: Person) -> Any:
        from flask import g

        held = g.lockgate_lock = ExitStack()  # until MLflow has answered
        held.enter_context(self._lock(operation.model))
        there = standing.standing(operation, self._secret)
        now = time.time()
        ruling = judge(operation, person, there, now)
        if ruling.recorded or ruling.outcome == "refused":
            self._record(entry(operation, person, there, ruling, now))
        if ruling.outcome == "refused":
            return _answer(_DENIED, ruling.reason)
        if ruling.recorded:
            g.lockgate = Judged(operation, person, there, ruling)
        self._prepare(operation, person, there, ruling)
        return None

    def _prepare(self, operation: Operation, person: Person, there: Standing, ruling: Ruling) -> None:
        """The decision is written before its tag: whoever the tag's webhook wakes finds it."""
        from flask import request

        rewriting.rewrite(operation, person, ruling)
        if not rewriting.holds(_operation(request.endpoint or ""), operation, person, ruling):
            raise RuntimeError("this Flask parses a request anew: lockgate-auth cannot change what MLflow will do")
        if ruling.decision is not None:
            decision = signed(ruling.decision, operation.model, there.version, self._secret)
            standing.write_tags(operation.model, there.version, {DECISIONS: decisions_text((*ruling.kept, decision))})

    def _registered(self, judged: Judged, made: dict[str, Any]) -> None:
        """The version has a number now. Tags that it should not have were left out, and are looked for once more."""
        operation, person, ruling = judged.operation, judged.person, judged.ruling
        if not isinstance(operation, Register):
            return
        name, version = str(made["name"]), str(made["version"])
        wanted, found = rewriting.stamps(operation, person, ruling), standing.tags(name, version)
        if missing := {key: value for key, value in wanted.items() if found.get(key) != value}:
            standing.write_tags(name, version, missing)
        for key in ruling.dropped:
            if key in found and key not in wanted:
                standing.delete_tag(name, version, key)
        row = entry(operation, person, Standing(version), ruling, time.time())
        self._record(replace(row, operation="registered"))

    def _failed(self, judged: Judged, response: Any) -> None:
        """MLflow did not do it after all: a decision that was written before it is taken back."""
        there, operation = judged.before, judged.operation
        if judged.ruling.decision is not None:
            if (was := there.tags.get(DECISIONS)) is None:
                standing.delete_tag(operation.model, there.version, DECISIONS)
            else:
                standing.write_tags(operation.model, there.version, {DECISIONS: was})
        failed = Ruling("failed", f"MLflow answered {response.status_code}: nothing was changed")
        self._record(entry(operation, judged.person, there, failed, time.time()))

    def _refused_by_mlflow(self, response: Any) -> None:
        """Basic-auth's own refusal of something that is ours to record."""
        from flask import g, request

        user = g.get("mlflow_authenticated_user")
        name = request.endpoint or ""
        if response.status_code != _DENIED or g.get("lockgate_came") or not user or name not in endpoints.RULED:
            return
        operation = _operation(name)
        if concerns(operation):
            ruling = Ruling("refused", "MLflow: the permission is missing")
            self._record(entry(operation, standing.person(user), Standing(), ruling, time.time()))

    def _unheard(self, name: str, person: Person) -> Any:
        reason = f"no rule of lockgate-auth knows {name}, which is new in this MLflow; ask for a newer Lockgate"
        self._record(
            Entry(time.time(), person.name, tuple(person.roles), name[:40], "", reason=reason, outcome="refused")
        )
        return _answer(_DENIED, reason)

    def _record(self, row: Entry) -> None:
        from flask import request

        self._audit.append(from_where(row, request.remote_addr, request.headers.get("X-Request-ID")))


def install(app: Any, guard: Guard) -> None:
    from mlflow.server.handlers import catch_mlflow_exception

    app.before_request(catch_mlflow_exception(guard.before))
    app.after_request(guard.after)
    app.teardown_request(guard.teardown)


def _operation(name: str) -> Operation:
    from flask import request

    endpoint = endpoints.RULED[name]
    operation = endpoint.read(endpoints.parsed(endpoint))
    if isinstance(operation, SetTag) and ours(operation.key):
        return replace(operation, seen=request.headers.get(SEEN, ""))
    return operation


def _answer(status: int, reason: str) -> Any:
    from flask import jsonify

    code = "PERMISSION_DENIED" if status == _DENIED else "TEMPORARILY_UNAVAILABLE"
    return jsonify(error_code=code, message=f"Lockgate: {reason}."), status
