"""What a driver shows in Prefect: the gates as a table, the verdict in words, and the way to the MLflow page."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from lockgate.flows import report, view
from lockgate.flows.outbox import Outbox
from lockgate.rollout.progress import Progress
from lockgate.rollout.store import Event, Rollout, Store

_WITHIN = 10.0
_SHOWN = 5
_EVERY = 30.0
"""Seconds between two tables of the same step: each is a row in Prefect's database, and a client made for it."""


class Evidence:
    """A `Watcher` that puts artifacts into the outbox when something changed, and the numbers now and then."""

    def __init__(self, store: Store, rollout: Rollout, outbox: Outbox, mlflow: str) -> None:
        self._store, self._rollout, self._outbox, self._mlflow = store, rollout, outbox, mlflow
        self._told = 0
        self._tabled = 0.0

    def __call__(self, event: Event, progress: Progress | None) -> None:
        at = progress.at if progress else event.at
        changed = event.sequence > self._told
        if not changed and at - self._tabled < _EVERY:
            return
        status = report.status(self._store, self._rollout)
        self._tabled = at
        if status["gates"]:
            self._outbox.put("table of measurements in Prefect", lambda: _table(status))
        if changed:
            self._told = event.sequence
            events = report.history(self._store, self._rollout)["events"]
            self._outbox.put("verdict in Prefect", lambda: _markdown(status, events))
            self._outbox.put("link in Prefect", lambda: _link(status, self._mlflow))


def _send(artifact: Coroutine[Any, Any, object]) -> None:
    """Prefect's client retries for a minute and more; what comes after in the outbox should not wait that long."""
    asyncio.run(asyncio.wait_for(artifact, _WITHIN))


def key(status: dict[str, Any], what: str) -> str:
    return f"{status['name']}-{what}"


def _table(status: dict[str, Any]) -> None:
    from prefect.artifacts import acreate_table_artifact

    columns = ("gate", "outcome", "candidate", "stable", "limit", "candidate_requests", "stable_requests")
    rows = [{c: gate[c] for c in columns} for gate in status["gates"]]
    _send(acreate_table_artifact(key=key(status, "measurements"), table=rows, description=status["rollout"]))


def _markdown(status: dict[str, Any], events: list[dict[str, Any]]) -> None:
    from prefect.artifacts import acreate_markdown_artifact

    _send(acreate_markdown_artifact(key=key(status, "verdict"), markdown=markdown(status, events)))


def _link(status: dict[str, Any], mlflow: str) -> None:
    from prefect.artifacts import acreate_link_artifact

    if mlflow.startswith("http"):
        page = f"{mlflow.rstrip('/')}/#/models/{status['model']}/versions/{status['candidate_version']}"
        _send(acreate_link_artifact(key=key(status, "mlflow"), link=page, link_text="the candidate in MLflow"))


def markdown(status: dict[str, Any], events: list[dict[str, Any]]) -> str:
    """The rollout in words: where it is, and every event with its reason."""
    head = (
        f"# {status['rollout']}: {status['phase'].replace('_', ' ')}\n\n"
        f"{status['model']} version {status['stable_version']} → {status['candidate_version']}. {status['reason']}\n\n"
        f"{_waits(status)}"
        "| time | event | phase | step | candidate's share | why |\n| --- | --- | --- | --- | --- | --- |\n"
    )
    rows = [
        f"| {view.clock(e['at'])} | {_cell(report.headline(e))} | {e['phase']} | {e['step']}"
        f" | {e['weight_percent']:g} % | {_cell(e.get('comment') or e['reason'])} |"
        for e in events
    ]
    return head + "\n".join(rows) + "\n" + _disagreements(status["disagreements"])


def _waits(status: dict[str, Any]) -> str:
    said = " ".join(view.waits(status))
    return f"{said[:1].upper()}{said[1:]}.\n\n" if said else ""


def _disagreements(examples: list[dict[str, Any]]) -> str:
    """The worst disagreements of the shadow's answers with stable's."""
    if not examples:
        return ""
    head = "\n## Answers that differ most\n\n| gate | request | stable | candidate | inputs |\n|---|---|---|---|---|\n"
    keys = ("gate", "request_id", "stable", "candidate", "inputs")
    return head + "\n".join(f"| {' | '.join(_cell(str(e[key])) for key in keys)} |" for e in examples[:_SHOWN]) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
