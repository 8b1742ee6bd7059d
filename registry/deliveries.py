"""What MLflow's webhooks deliver: whether it is MLflow who says it, now and for the first time, and what it says.

MLflow signs `id.timestamp.body` with the webhook's secret. What it sends again, within seconds, has the same id and the
same timestamp as the first attempt.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import RegistryError

LARGEST = 64 * 1024
"""Bytes of a body; MLflow's own have a few hundred, and longer tag values concern nobody here."""
TOLERANCE = 300
"""Seconds that a delivery's time may differ from ours, both ways."""
_SIGNATURE, _ID, _TIME = "x-mlflow-signature", "x-mlflow-delivery-id", "x-mlflow-timestamp"
_LONGEST_ID = 100
_LONGEST_TIME = 12  # digits
_EXAMPLE = "example_model"
_WAIT = 5.0  # seconds for another process that has the file


class BadDelivery(RegistryError):
    """Why a delivery is not believed: a sentence without anything that it held."""


class Replayed(BadDelivery):
    """It is MLflow's, and was taken before: a retry, or somebody who recorded it."""


@dataclass(frozen=True, slots=True)
class Event:
    """What happened in the registry. What does not belong to its kind is empty."""

    entity: str
    """`model_version_tag`, `model_version_alias`, or another of MLflow's."""
    action: str
    """`set`, `created`, `deleted`."""
    name: str
    """Of the registered model."""
    version: str = ""
    key: str = ""
    """Of the tag, and `value` is the tag's."""
    alias: str = ""
    value: str = ""

    @property
    def test(self) -> bool:
        """MLflow's own example, which its test of a webhook sends: nothing happened."""
        return self.name == _EXAMPLE and self.key in ("", "example_key") and self.alias in ("", "example_alias")


class Seen:
    """The deliveries that were taken, in a small file: a restart forgets none, and several processes may share it.

    An id is forgotten only when no delivery with its timestamp would be taken any more. Where there are more than
    `most` of them, the oldest go, and from then on nothing as old as those is taken.
    """

    def __init__(self, path: Path, most: int = 10_000) -> None:
        self._path, self._most = path, most
        path.parent.mkdir(parents=True, exist_ok=True)

    def first(self, delivery: str, at: int, now: float) -> bool:
        """Whether it was not taken before; from now on it was. `at` is its own timestamp."""
        with self._open() as db:
            (floor,) = db.execute("SELECT coalesce(max(at), -1) FROM forgotten").fetchone()
            if at <= floor or db.execute("INSERT OR IGNORE INTO seen VALUES (?, ?)", (delivery, at)).rowcount == 0:
                return False
            self._forget(db, int(now) - TOLERANCE - 1)
        return True

    def _forget(self, db: sqlite3.Connection, expired: int) -> None:
        over = db.execute("SELECT at FROM seen ORDER BY at DESC LIMIT 1 OFFSET ?", (self._most,)).fetchone()
        until = max(expired, over[0]) if over else expired
        (last,) = db.execute("SELECT max(at) FROM seen WHERE at <= ?", (until,)).fetchone()
        if last is not None:
            db.execute("DELETE FROM seen WHERE at <= ?", (until,))
            db.execute("DELETE FROM forgotten")
            db.execute("INSERT INTO forgotten VALUES (?)", (last,))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_WAIT, isolation_level=None)) as db:
                db.execute("CREATE TABLE IF NOT EXISTS seen (id TEXT PRIMARY KEY, at INTEGER NOT NULL)")
                db.execute("CREATE TABLE IF NOT EXISTS forgotten (at INTEGER NOT NULL)")
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
        except sqlite3.Error as error:
            raise BadDelivery(
                f"deliveries cannot be remembered in {self._path} ({error}), and what may be a repetition is refused; "
                "make that file writable, or delete it"
            ) from error


class Deliveries:
    """Takes MLflow's deliveries."""

    def __init__(self, secret: str, seen: Seen) -> None:
        """`secret` is the webhook's. Raises `ValueError` without one: anybody can sign with nothing."""
        if not secret:
            raise ValueError("webhooks need a secret: without one, anybody can send them")
        self._secret, self._seen = secret.encode(), seen

    def take(self, headers: Mapping[str, str], body: bytes, now: float) -> Event:
        """What a delivery says. Raises `BadDelivery`. `now` in Unix seconds; the headers' case does not matter."""
        if len(body) > LARGEST:
            raise BadDelivery(f"the delivery is larger than {LARGEST} bytes")
        lower = {name.lower(): value for name, value in headers.items()}
        delivery, at = self._signed(lower, body)
        if abs(now - at) > TOLERANCE:
            raise BadDelivery(
                f"the delivery's time is {abs(now - at):.0f} seconds from ours, and {TOLERANCE} are allowed; where "
                "MLflow has just sent it, set the clocks of both machines"
            )
        event = _event(body)
        if not self._seen.first(delivery, at, now):
            raise Replayed("the delivery was taken before")
        return event

    def _signed(self, headers: Mapping[str, str], body: bytes) -> tuple[str, int]:
        """Its id and time."""
        delivery, at = headers.get(_ID, ""), headers.get(_TIME, "")
        if not (0 < len(delivery) <= _LONGEST_ID and at.isascii() and at.isdigit() and len(at) <= _LONGEST_TIME):
            raise BadDelivery("the delivery has no id or no time: MLflow did not send it")
        text = f"{delivery}.{at}.".encode(errors="replace") + body
        wanted = "v1," + base64.b64encode(hmac.new(self._secret, text, hashlib.sha256).digest()).decode()
        if not hmac.compare_digest(wanted.encode(), headers.get(_SIGNATURE, "").encode(errors="replace")):
            raise BadDelivery(
                "the delivery's signature does not hold; where MLflow did send it, give its webhook the secret that is "
                "set here"
            )
        return delivery, int(at)


def _event(body: bytes) -> Event:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        raise BadDelivery("the delivery is no JSON") from None
    data = found.get("data") if isinstance(found, dict) else None
    if not isinstance(data, dict) or not _text(data, "name"):
        raise BadDelivery("the delivery names no model")
    texts = {key: _text(data, key) for key in ("name", "version", "key", "alias", "value")}
    return Event(entity=_text(found, "entity"), action=_text(found, "action"), **texts)


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""
