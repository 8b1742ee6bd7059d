"""What the local platform remembers of its replicas: one folder each, written atomically, read by any later process."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from lockgate.services import processes
from lockgate.services.words import Bento, Replica

HOST = "127.0.0.1"
_LOGS_KEPT = 50


@dataclass(frozen=True, slots=True)
class Record:
    """`pid` is 0 from just before the process is started until just after; `owner` is who started it.

    `limit`: bytes of memory that it may take, 0 for any number; None, which is the same, where an older
    Lockgate started it.
    `leaving`: when it was told to end, in seconds since 1970; 0 while it is not.
    """

    id: str
    bento: str
    digest: str
    port: int
    owner: int
    owner_created: float
    pid: int = 0
    created: float = 0.0
    ready: bool = False
    limit: int | None = None
    leaving: float = 0.0

    @property
    def replica(self) -> Replica:
        return Replica(self.id, self.bento, HOST, self.port, self.pid, self.ready)


class Records:
    def __init__(self, home: Path) -> None:
        self._replicas = home / "replicas"
        self._logs = home / "logs"
        self._seals = home / "seals"
        self._limits = home / "limits"
        self._read: dict[str, tuple[tuple[int, ...], Record]] = {}
        """By id: what was read of which file. Each is replaced, never changed."""
        for folder in (self._replicas, self._logs, self._seals, self._limits):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def open(self, bento: Bento, store: Path, limit: int | None = None) -> Record:
        """A new replica's folder, with a BENTOML_HOME of its own: `bentoml serve` empties the metrics folder in it."""
        me = psutil.Process()
        taken = {r.port for r in self.all()}
        name, port = uuid.uuid4().hex[:12], processes.free_port(taken)
        record = Record(name, bento.tag, bento.digest, port, me.pid, me.create_time(), limit=limit)
        folder = self.folder(record.id)
        for inside in ("bentoml", "tmp"):
            (folder / inside).mkdir(parents=True)
        for shared in ("bentos", "models"):
            (folder / "bentoml" / shared).symlink_to((store / shared).resolve(), target_is_directory=True)
        self.write(record)
        self._prune_logs()
        return record

    def folder(self, replica: str) -> Path:
        return self._replicas / replica

    def log(self, replica: str) -> Path:
        return self._logs / f"{replica}.log"

    def write(self, record: Record) -> None:
        state = self.folder(record.id) / "state.json"
        new = state.with_suffix(".new")
        new.write_text(json.dumps(asdict(record), indent=1), encoding="utf-8")
        new.replace(state)

    def seal(self, bento: Bento) -> str:
        """What the bento's files were when it was packaged, or first started here; empty for one never seen.

        A seal that the bento brings with it is of its packaging, and replaces the one that is remembered.
        """
        kept = self._seals / bento.tag.replace(":", "-")
        if bento.seal:
            kept.write_text(bento.seal, encoding="ascii")
            return bento.seal
        return kept.read_text(encoding="ascii") if kept.is_file() else ""

    def limit(self, bento: str) -> int | None:
        """What a replica of this bento might take when it became stable's, as `Record.limit`; None: it never did."""
        try:
            return int(self._limit_of(bento).read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def keep_limit(self, bento: str, limit: int | None) -> None:
        """None forgets it."""
        kept = self._limit_of(bento)
        if limit is None:
            kept.unlink(missing_ok=True)
        elif self.limit(bento) != limit:
            new = kept.with_name(f"{kept.name}.new")
            new.write_text(str(limit), encoding="ascii")
            new.replace(kept)

    def _limit_of(self, bento: str) -> Path:
        return self._limits / bento.replace(":", "-")

    def forget(self, replica: str) -> None:
        shutil.rmtree(self.folder(replica), ignore_errors=True)

    def get(self, replica: str) -> Record | None:
        """Asked every second for months: a path is a string, because parts of a `Path` are interned."""
        try:
            with open(f"{self._replicas}/{replica}/state.json", "rb") as state:  # noqa: PTH123 - see above
                about = os.fstat(state.fileno())
                file = about.st_ino, about.st_mtime_ns, about.st_size
                before, record = self._read.get(replica, (None, None))
                if record is None or before != file:
                    record = Record(**json.load(state))
                    self._read[replica] = file, record
                return record
        except (OSError, ValueError, TypeError):
            self._read.pop(replica, None)
            return None

    def all(self) -> Iterator[Record]:
        names = sorted(os.listdir(self._replicas))  # noqa: PTH208 - see `get`
        for gone in self._read.keys() - set(names):
            self._read.pop(gone, None)
        for name in names:
            if record := self.get(name):
                yield record

    def running(self) -> list[Record]:
        """Replicas that run, oldest first. One that died is forgotten, and what it left running is ended."""
        found = [record for known in self.all() if (record := self._still_there(known))]
        return sorted(found, key=lambda r: r.created)

    def _still_there(self, record: Record) -> Record | None:
        if not record.pid:
            if processes.runs(record.owner, record.owner_created):
                return None  # another process, or another thread of this one, is starting it at this moment
            record = self._completed(record)
        if processes.runs(record.pid, record.created):
            return record
        processes.end([record.id], grace=0)
        self.forget(record.id)
        return None

    def _completed(self, record: Record) -> Record:
        """Whoever started it died before writing down which process it is."""
        for root in processes.roots(processes.of([record.id])):
            record = replace(record, pid=root.pid, created=root.create_time())
            self.write(record)
        return record

    def _prune_logs(self) -> None:
        logs = sorted(self._logs.glob("*.log"), key=lambda p: p.stat().st_mtime, reverse=True)
        for old in logs[_LOGS_KEPT:]:
            if not self.folder(old.stem).exists():
                old.unlink(missing_ok=True)
