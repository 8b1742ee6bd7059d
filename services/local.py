"""Replicas as `bentoml serve` processes on this machine."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lockgate.services import processes
from lockgate.services.errors import NotReady
from lockgate.services.package import home as bentoml_home
from lockgate.services.ports import Platform
from lockgate.services.records import HOST, Record, Records
from lockgate.services.serving.start import FATAL
from lockgate.services.words import Bento, Replica

_LOOK_EVERY = 0.1
_ANSWER_WITHIN = 2.0
_PORTS_TRIED = 5
_LOG_LINES = 15
_PORT_TAKEN = "Address already in use"


class LocalPlatform(Platform):
    """Keeps its records under `home`, so that a later process adopts what this one started.

    `ready_within` and `stop_within` are seconds: for a start to become ready, and for a stop to finish what it answers.
    `capture`: the folder where the replicas that it starts keep what they answer.
    """

    def __init__(self, home: Path, ready_within: float, stop_within: float = 20.0, capture: Path | None = None) -> None:
        self._records = Records(home.resolve())
        self._ready_within, self._stop_within = ready_within, stop_within
        self._capture = {processes.CAPTURE: str(capture.resolve())} if capture else {}

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """As `Platform.start`; replicas beyond `count` run on until somebody stops them."""
        kept = [r for r in self._records.running() if r.bento == bento.tag][:count]
        deadline = time.monotonic() + self._ready_within
        started: list[Record] = []
        try:
            for _ in range(count - len(kept)):
                started.append(self._spawn(bento))  # noqa: PERF401 - each is known here as soon as it runs
            self._await_ready(bento, kept, started, deadline)
        except BaseException:
            self._end([r.id for r in started])
            raise
        return [replace(r, ready=True).replica for r in (*kept, *started)]

    def stop(self, replicas: Sequence[Replica]) -> None:
        """As `Platform.stop`; all of them at once."""
        self._end([r.id for r in replicas])

    def replicas(self) -> Sequence[Replica]:
        """As `Platform.replicas`; also those that are not ready yet, and say so."""
        return [r.replica for r in self._records.running()]

    def _spawn(self, bento: Bento) -> Record:
        """Recorded before and after: a kill between any two lines leaves a record that leads to the process."""
        record = self._records.open(bento, bentoml_home())
        try:
            folder, log = self._records.folder(record.id), self._records.log(record.id)
            about = {processes.MARK: record.id, **self._capture}
            process = processes.serve(bento.tag, record.port, folder, log, about)
            record = replace(record, pid=process.pid, created=process.create_time())
            self._records.write(record)
        except BaseException:
            self._end([record.id])
            raise
        return record

    def _await_ready(self, bento: Bento, kept: list[Record], started: list[Record], deadline: float) -> None:
        ready: set[str] = set()
        ports_left = _PORTS_TRIED
        while waiting := [r for r in (*kept, *started) if r.id not in ready]:
            for record in waiting:
                if _ready(record):
                    ready.add(record.id)
                    self._records.write(replace(record, ready=True))
                elif reason := self._hopeless(record):
                    if reason != _PORT_TAKEN or record not in started or not ports_left:
                        raise self._not_ready(record, reason)
                    ports_left -= 1
                    started[started.index(record)] = self._again(bento, record)
            if late := [r for r in (*kept, *started) if r.id not in ready]:
                if time.monotonic() > deadline:
                    raise self._not_ready(late[0], f"not ready within {self._ready_within:g} s")
                time.sleep(_LOOK_EVERY)

    def _again(self, bento: Bento, record: Record) -> Record:
        """On another port: something else took this one between our look and the replica's start."""
        self._end([record.id])
        return self._spawn(bento)

    def _hopeless(self, record: Record) -> str:
        """Why waiting longer is no use, or nothing. The supervisor starts a failing worker again and again."""
        log = _read(self._records.log(record.id))
        if not processes.runs(record.pid, record.created):
            return _PORT_TAKEN if _PORT_TAKEN in log else "its process ended"
        return next((line.partition("lockgate: ")[2] for line in log.splitlines() if FATAL in line), "")

    def _not_ready(self, record: Record, reason: str) -> NotReady:
        path = self._records.log(record.id)
        last = "\n".join(_read(path).strip().splitlines()[-_LOG_LINES:])
        return NotReady(f"a replica of {record.bento} is not ready: {reason}. Its log {path} ends with:\n{last}")

    def _end(self, ids: Sequence[str]) -> None:
        if ids:
            processes.end(ids, self._stop_within)
        for replica in ids:
            self._records.forget(replica)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _ready(record: Record) -> bool:
    """Ready, and really this replica with this artifact: something else may answer on its port."""
    if _get(record.port, "/readyz") is None:
        return False
    try:
        info = json.loads(_get(record.port, "/info") or b"{}")
    except ValueError:
        return False
    return isinstance(info, dict) and (info.get("replica"), info.get("digest")) == (record.id, record.digest)


def _get(port: int, path: str) -> bytes | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=_ANSWER_WITHIN)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
