"""What Lockgate keeps on a version's page in MLflow: the evidence in its description, the rest in tags.

MLflow writes one tag at a time, so the order matters. `ask` first takes the word away from `lockgate.approval`: nothing
said on another request is ever read as an answer to this one. It says `pending` last: a killed `ask` is told from a
whole one, and written again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from . import description
from .approvals import APPROVAL, AUTHOR, DECISIONS, PENDING, REQUEST, SEEN, WRITING, Page, Request, counted, said
from .client import asking, permitted, quiet_import, write
from .errors import Refused
from .location import Location
from .record import record
from .words import EVIDENCE_ROOM, ModelVersion

_SET_TAG = "/api/2.0/mlflow/model-versions/set-tag"


def read(version: ModelVersion, text: str, people: Callable[[], bool]) -> Page:
    """`text` is the version's description; `people` asks whether the server knows who decided.

    Where no evidence stands nothing was decided: `Promote model` in the UI copies the tags alone to another model.
    """
    evidence = description.evidence_of(text)
    decisions = () if evidence is None else counted(version.tags, version.name, version.version, people)
    return Page(
        approval=version.tags.get(APPROVAL, ""),
        request=Request.of(version.tags.get(REQUEST, "")),
        decisions=decisions,
        evidence="" if evidence is None else description.sha(evidence),
        author=version.tags.get(AUTHOR, ""),
    )


class Pen:
    """Writes on the page of one version, whose `tags` and description (`text`) were read before."""

    def __init__(self, client: Any, where: Location, version: ModelVersion, text: str) -> None:
        self._client, self._where, self._version, self._text = client, where, version, text

    @property
    def _tags(self) -> Mapping[str, str]:
        return self._version.tags

    def ask(self, request: Request, evidence: str) -> str:
        """Returns sha256 of the evidence as it is read again, also where it has been edited since it was asked.

        What somebody mistyped becomes `pending` again; a decision stays. Raises `ValueError` for evidence that is
        longer than `EVIDENCE_ROOM`.
        """
        evidence = bounded(evidence)
        word = self._tags.get(APPROVAL, "")
        if self._stands(request) and word not in ("", WRITING):
            if word != PENDING and not said(word):
                self._tag(APPROVAL, PENDING)
            return description.sha(evidence)
        if APPROVAL in self._tags:
            self._tag(APPROVAL, WRITING)
        self._describe(evidence)
        if DECISIONS in self._tags:
            self._untag(DECISIONS)
        self._tag(REQUEST, request.text())
        self._tag(APPROVAL, PENDING)
        return description.sha(evidence)

    def close(self, request: Request, outcome: str) -> None:
        if self._stands(request) and self._tags.get(APPROVAL) != outcome:
            self._tag(APPROVAL, outcome)

    def decide(self, request: Request, value: str) -> None:
        """Raises `Refused`."""
        if not self._stands(request):
            raise Refused(
                f"{self._version} does not ask what you decide on, or no longer. Look at its page in MLflow, and "
                "decide on what stands there now."
            )
        if (now := self._tags.get(APPROVAL, "")) == WRITING:
            raise Refused(f"What is asked of {self._version} is being written. Wait a moment, then say it again.")
        if now != PENDING:
            raise Refused(
                f"Nothing is asked of {self._version} now: {APPROVAL} says {now!r}. Look at its page in MLflow; "
                "where a rollout still waits, it asks again by itself."
            )
        with asking(self._where), permitted(self._where):
            write(lambda: self._say(value, request.digest))

    def _say(self, value: str, digest: str) -> None:
        """With what was looked at: a server with `lockgate-auth` refuses it where another request stands by now."""
        if not self._where.registry.startswith(("http://", "https://")):
            self._setting(APPROVAL, value)()
            return
        rest, credentials = quiet_import("mlflow.utils.rest_utils"), quiet_import("mlflow.utils.credentials")
        tag = {"name": self._version.name, "version": self._version.version, "key": APPROVAL, "value": value}
        creds = credentials.get_default_host_creds(self._where.registry)
        rest.http_request_safe(creds, _SET_TAG, "POST", json=tag, extra_headers={SEEN: digest})

    def _stands(self, request: Request) -> bool:
        return Request.of(self._tags.get(REQUEST, "")) == request

    def _describe(self, evidence: str) -> None:
        author = description.author_of(self._text)
        whole = description.joined(evidence, author)
        if len(whole) > description.ROOM:
            whole = description.joined(evidence, self._moved(author))
        if whole != self._text:
            with asking(self._where):
                self._client.update_model_version(self._version.name, self._version.version, whole)

    def _moved(self, author: str) -> str:
        """What stands in place of an author's text for which there is no room: where it is, in full."""
        content = author.encode()
        file = f"{hashlib.sha256(content).hexdigest()[:12]}.md"
        run = record(self._client, self._where, self._version, "description", {file: content})
        at = f"#/experiments/{run.experiment}/runs/{run.id}/artifacts/{run.folder}/{file}"
        return f"The author's own description does not fit beside this; it is kept [with the version's run]({at})."

    def _tag(self, key: str, value: str) -> None:
        with asking(self._where):
            write(self._setting(key, value))

    def _setting(self, key: str, value: str) -> Callable[[], object]:
        return partial(self._client.set_model_version_tag, self._version.name, self._version.version, key, value)

    def _untag(self, key: str) -> None:
        with asking(self._where):
            self._client.delete_model_version_tag(self._version.name, self._version.version, key)


def bounded(evidence: str) -> str:
    """As it is written and found again. Raises `ValueError` where it does not fit."""
    evidence = description.neat(evidence)
    if len(evidence) > EVIDENCE_ROOM:
        raise ValueError(
            f"The evidence has {len(evidence)} characters, and {EVIDENCE_ROOM} fit on a version's page. Keep the whole "
            "of it in the version's run, and show less."
        )
    return evidence
