"""Replicas as `bentoml serve` processes on this machine."""

from __future__ import annotations

import fcntl
import http.client
import json
import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread

from lockgate.monitoring.units import size_text
from lockgate.services import memory, processes
from lockgate.services.errors import NotReady
from lockgate.services.package import home as bentoml_home
from lockgate.services.package import seal_of
from lockgate.services.ports import Platform
from lockgate.services.records import HOST, Record, Records
from lockgate.services.serving.start import FATAL
from lockgate.services.words import Bento, Replica

_LOG = logging.getLogger("lockgate.replicas")
_LOOK_EVERY = 0.1
_ANSWER_WITHIN = 2.0
_PORTS_TRIED = 5
_LOG_LINES = 15
_PORT_TAKEN = "Address already in use"
_ROUTED_WITHIN = 3.0
"""Seconds in which whoever routes sends nothing more to one that is about to end: they look once a second."""


class LocalPlatform(Platform):
    """Keeps its records under `home`, so that a later process adopts what this one started.

    `ready_within` and `stop_within` are seconds: for a start to become ready, and for a stop to finish what it answers.
    `capture`: the folder where the replicas that it starts keep what they answer. `most`: bytes that one of them may
    take.
    """

    def __init__(
        self,
        home: Path,
        ready_within: float,
        stop_within: float = 20.0,
        capture: Path | None = None,
        most: int | None = None,
    ) -> None:
        self._home = home.resolve()
        self._records = Records(self._home)
        self._ready_within, self._stop_within, self._most = ready_within, stop_within, most
        self._capture = {processes.CAPTURE: str(capture.resolve())} if capture else {}
        self._ending: set[str] = set()
        self._told: set[str] = set()

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """As `Platform.start`; replicas beyond `count` run on until somebody stops them.

        Two who start the same bento do so one after the other, and the second one adopts what the first one started.
        """
        with self._alone(bento):
            return self._started(bento, count)

    def _started(self, bento: Bento, count: int) -> Sequence[Replica]:
        kept = [r for r in self._records.running() if r.bento == bento.tag and not r.leaving][:count]
        if len(kept) < count:
            self._check(bento)
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
        """As `Platform.stop`; all of them at once, and with them those that leave already."""
        leaving = [r.id for r in self._records.running() if r.leaving]
        self._end([*{*(r.id for r in replicas), *leaving}])
        left = {r.bento for r in self._records.all()}
        for bento in {r.bento for r in replicas} - left:
            self._records.keep_limit(bento, None)

    def replicas(self) -> Sequence[Replica]:
        """As `Platform.replicas`; also those that are not ready yet, and say so. One that leaves is none any more."""
        return [r.replica for r in self._records.running() if not r.leaving]

    def _check(self, bento: Bento) -> None:
        """Its code and arguments are what was packaged; the replica does the same with the model's files."""
        wanted, now = self._records.seal(bento), seal_of(bento.tag)
        if not wanted:
            self._records.seal(replace(bento, seal=now))
        elif now and now != wanted:
            folder = bentoml_home() / "bentos" / bento.tag.replace(":", "/")
            raise NotReady(
                f"the bento {bento.tag} is not what was packaged: its files in {folder} changed. Find out who changed "
                f"them; then `bentoml delete {bento.tag}`, and it is built again from the registry."
            )

    def watch(self, stable: Collection[str]) -> Mapping[str, str]:
        """As `Platform.watch`."""
        ended: dict[str, str] = {}
        running = self._records.running()
        for record in running:
            serves = record.bento in stable and record.ready
            if serves:
                self._spare(record)
            if record.leaving:
                self._finish(record)
            elif not (too_much := _too_much(record)):
                self._told.discard(record.id)
            elif not serves:
                processes.end([record.id], grace=0)  # it would go on growing
                self._records.forget(record.id)
                ended[record.bento] = too_much
            elif not stable & ended.keys() and self._leaves(record, running, too_much):
                ended[record.bento] = too_much
        return ended

    def _spare(self, record: Record) -> None:
        """What it may take is what it might when it became stable's, whatever a spec says since of its challenger."""
        memory.protect(record.pid)
        if record.limit is not None:
            with suppress(OSError):  # the disk is full: the next look writes it down
                self._records.keep_limit(record.bento, record.limit)

    def _leaves(self, record: Record, running: Sequence[Record], too_much: str) -> bool:
        """Tell one of stable's to end, where all others of its bento answer; else say once why it stays.

        It is no longer listed from now on, and ended when nobody sends requests to it.
        """
        others = [r for r in running if r.bento == record.bento and r.id != record.id]
        if not others or not all(r.ready and not r.leaving and _ready(r) for r in others):
            if record.id not in self._told:
                why = "not all others are ready" if others else "it is the last one"
                _LOG.warning("a replica of %s goes on, for %s: %s", record.bento, why, too_much)
            self._told.add(record.id)
            return False
        with suppress(OSError):  # the disk is full, or it has just ended
            self._records.write(replace(record, ready=False, leaving=time.time()))
            _LOG.warning("a replica of %s leaves when it has finished what it answers: %s", record.bento, too_much)
            return True
        return False

    def _finish(self, record: Record) -> None:
        """Beside the loop: it may take a while to finish what it answers. Whoever looks next goes on with it."""
        if record.id not in self._ending and not 0 <= time.time() - record.leaving < _ROUTED_WITHIN:
            Thread(target=self._end, args=([record.id],), name="leaving", daemon=True).start()
            self._ending.add(record.id)

    def _limit(self, bento: Bento) -> int:
        """Of a replica that is started now: stable's are not started with less than they had."""
        now, before = self._most or 0, self._records.limit(bento.tag)
        if before is None:
            return now
        return max(now, before) if now and before else 0

    @contextmanager
    def _alone(self, bento: Bento) -> Iterator[None]:
        """The lock ends with its holder, however that ends."""
        with (self._home / f"{bento.tag.replace(':', '-').replace('/', '-')}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _spawn(self, bento: Bento) -> Record:
        """Recorded before and after: a kill between any two lines leaves a record that leads to the process."""
        record = self._records.open(bento, bentoml_home(), self._limit(bento))
        try:
            folder, log = self._records.folder(record.id), self._records.log(record.id)
            about = {processes.MARK: record.id, **self._capture}
            process = processes.serve(bento.tag, record.port, folder, log, about)
            memory.expose(process.pid)  # until it is stable's: whatever is new goes before what serves already
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
                answers = _ready(record)  # may wait for it to come up: what it takes is looked at afterwards
                if record in started and (too_much := _too_much(record)):  # one that served already is `watch`'s
                    raise self._not_ready(record, too_much)
                if answers:
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
        if fatal := next((line.partition("lockgate: ")[2] for line in log.splitlines() if FATAL in line), ""):
            return fatal
        if not processes.runs(record.pid, record.created):
            return _PORT_TAKEN if _PORT_TAKEN in log else "its process ended"
        return ""

    def _not_ready(self, record: Record, reason: str) -> NotReady:
        path = self._records.log(record.id)
        last = "\n".join(_read(path).strip().splitlines()[-_LOG_LINES:])
        return NotReady(f"a replica of {record.bento} is not ready: {reason}. Its log {path} ends with:\n{last}")

    def _end(self, ids: Sequence[str]) -> None:
        if ids:
            processes.end(ids, self._stop_within)
        for replica in ids:
            self._records.forget(replica)


def _too_much(record: Record) -> str:
    """A sentence about a replica that takes more memory than it may, or nothing."""
    most = record.limit
    if not most or not record.pid or (taken := memory.taken(record.pid, most)) <= most:
        return ""
    return (
        f"it takes {taken / 2**20:.0f} MiB of memory, and service.resources.memory allows {size_text(most)};"
        " raise it, or look for a leak"
    )


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
