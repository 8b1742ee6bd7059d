"""Tells a rollout what its users did: `Feedback("http://127.0.0.1:8080").send("conversion", 1, user="u1")`."""

from __future__ import annotations

import json
import random
import ssl
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import sleep
from types import TracebackType
from typing import Any, Self

import httpx

from lockgate.monitoring.feedback.errors import Refused, Unavailable

_MOST_ROWS, _MOST_BYTES = 1000, 1_000_000
"""Of one request; the server takes a little more."""
_PAUSES = (0.1, 0.4, 1.6)
"""Seconds before each further attempt."""
_AGAIN = (429, 502, 503, 504)
_REFUSED = (400, 401, 403, 408, 413, 415, 422)
_LONGEST = 30.0
"""Seconds that are waited when the router asks for it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """`accepted`: rows that are kept now. `known`: rows that were kept before, by their `id`."""

    accepted: int = 0
    known: int = 0


class _Limited(Unavailable):
    """`wait`: seconds until another attempt may help."""

    def __init__(self, sentence: str, wait: float) -> None:
        super().__init__(sentence)
        self.wait = wait


class Feedback:
    """At `url`, the rollout's address. `timeout`: seconds of each attempt. For any number of threads.

    `key`: this client's, where the rollout has `clients`; with another header than `authorization`, that and the key.
    `verify`: PEM file of the authority that signed the address's certificate, where the system does not know it.
    """

    def __init__(
        self,
        url: str,
        timeout: float = 5.0,
        *,
        key: str | tuple[str, str] = "",
        verify: str | Path | ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/").removesuffix("/feedback") + "/feedback"
        known = ssl.create_default_context(cafile=verify) if isinstance(verify, str | Path) else verify
        self._client = httpx.Client(timeout=timeout, transport=transport, verify=known)
        if key:
            name, value = ("authorization", f"Bearer {key}") if isinstance(key, str) else key
            self._client.headers[name] = value

    def send(  # noqa: PLR0913 - the fields of a row
        self,
        metric: str,
        value: float,
        *,
        user: str | int | None = None,
        request_id: str | None = None,
        at: datetime | str | float | None = None,
        id: str | int | None = None,  # noqa: A002 - as the field is named
    ) -> Taken:
        """One row, as `send_many`. `at`: a time with its zone, or unix seconds; now by default."""
        row = {"metric": metric, "value": value, "user": user, "request_id": request_id, "at": at, "id": id}
        return self.send_many([row])

    def label(
        self,
        label: str,
        value: str | float,
        *,
        request_id: str,
        row: int = 0,
        id: str | int | None = None,  # noqa: A002 - as the field is named
    ) -> Taken:
        """The truth about a request that was answered, as `send_many`. `row`: its place in the request."""
        return self.send_many([{"label": label, "value": value, "request_id": request_id, "row": row, "id": id}])

    def send_many(self, rows: Iterable[Mapping[str, Any]]) -> Taken:
        """Rows with the fields of `POST /feedback`. They are on the server's disk when this returns.

        A row without an `id` gets one, so an attempt that has to be repeated counts once. More than 1,000 rows are sent
        in parts, and the parts before one that fails are kept. Raises `Refused` and `Unavailable`.
        """
        accepted = known = 0
        for part in _parts(rows):
            answer = self._sent(part)
            accepted, known = accepted + answer.accepted, known + answer.known
        return Taken(accepted, known)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sent(self, body: bytes) -> Taken:
        for pause in _PAUSES:
            try:
                return self._attempt(body)
            except Unavailable as reason:
                least = min(_LONGEST, reason.wait) if isinstance(reason, _Limited) else 0.0
                sleep(least + pause * random.uniform(0.5, 1.0))  # noqa: S311 - so that many do not come at once
        return self._attempt(body)

    def _attempt(self, body: bytes) -> Taken:
        """Raises `Unavailable` where another attempt may help."""
        try:
            answer = self._client.post(self._url, content=body, headers={"content-type": "application/json"})
        except httpx.TransportError as reason:
            why = str(reason) or type(reason).__name__
            raise Unavailable(f"{self._place()} cannot be reached ({why}); is the rollout up?") from reason
        said = _object(answer)
        if answer.status_code == 202:
            return Taken(int(said.get("accepted", 0)), int(said.get("known", 0)))
        single = [said["error"]] if "error" in said else []  # the router's own
        sentences = [str(sentence) for sentence in said.get("errors") or single]
        if answer.status_code in _AGAIN:
            why = "; ".join(sentences) or f"it answers {answer.status_code}"
            sentence = f"{self._place()} takes no feedback now ({why}); send it again later"
            raise _Limited(sentence, _seconds(answer.headers.get("retry-after", "")))
        if answer.status_code in _REFUSED and sentences:
            raise Refused(sentences, answer.status_code)
        sentence = f"{self._place()} answers {answer.status_code}, not as Lockgate does; see the address"
        raise Refused([sentence], answer.status_code)

    def _place(self) -> str:
        """Without a user, a password or a path, which may be a secret."""
        url = httpx.URL(self._url)
        return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"


def _seconds(text: str) -> float:
    """Of Retry-After; 0 for a date, or where there is none."""
    return float(text) if text.isdecimal() else 0.0


def _parts(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Bodies of as many rows as one request takes."""
    part: list[bytes] = []
    size = 0
    for number, row in enumerate(rows, 1):
        found = _encoded(row, number)
        if part and (len(part) == _MOST_ROWS or size + len(found) > _MOST_BYTES):
            yield b"[" + b",".join(part) + b"]"
            part, size = [], 0
        part.append(found)
        size += len(found) + 1
    if part:
        yield b"[" + b",".join(part) + b"]"


def _encoded(row: Mapping[str, Any], number: int) -> bytes:
    """Raises `Refused` for what JSON cannot say."""
    given = {name: value for name, value in row.items() if value is not None}
    try:
        return json.dumps({"id": str(uuid.uuid4()), **given}, allow_nan=False, default=_plain).encode()
    except (TypeError, ValueError) as reason:
        raise Refused([f"row {number}: {reason}; send texts, finite numbers, and times with their zone"]) from reason


def _plain(value: Any) -> Any:
    """What numpy and the standard library have for a number or a time, as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    return float(value)


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
