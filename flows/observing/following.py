"""Keeps the lists of targets as they are now, while replicas and routers come and go."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lockgate.flows.home import Home
from lockgate.flows.metrics.reader import Reader
from lockgate.flows.observing.targets import Server, pipelines, served, targets
from lockgate.flows.spec import Spec

_LOG = logging.getLogger("lockgate.observe")
EVERY = 3.0
"""Seconds between two looks."""


class Following:
    """While the `with` lasts. What cannot be found out leaves the lists as they are."""

    def __init__(
        self, where: Home, specs: Sequence[Spec], into: Path, every: float = EVERY, servers: Sequence[Server] = ()
    ) -> None:
        """`into`: the folder of the lists, which is there. `servers`: of language models, read like replicas."""
        self._home, self._specs, self._into, self._every = where, specs, into, every
        self._servers = servers
        self._store: Reader | None = None
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._work, name="targets", daemon=True)

    def __enter__(self) -> Self:
        self.look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ends.set()
        self._thread.join()
        if self._store is not None:
            self._store.close()

    def look(self) -> None:
        """Once, now."""
        try:
            if self._store is None:
                self._store = Reader(self._home.store_url)
            found = targets(self._home, pipelines(self._store, self._specs))
            found["replica"] += [served(server) for server in self._servers]
            for name, of in found.items():
                write(self._into / f"{name}.json", of)
        except Exception as error:  # noqa: BLE001 - the next look may go through
            _LOG.warning("the lists of targets stay as they are: %s", error)
            self._empty()

    def _work(self) -> None:
        while not self._ends.wait(self._every):
            self.look()

    def _empty(self) -> None:
        """Prometheus reads lists that are there."""
        for name in ("envoy", "replica"):
            if not (self._into / f"{name}.json").exists():
                write(self._into / f"{name}.json", [])


def write(path: Path, document: Any) -> None:
    """Whole or not at all, and only where it changes: Prometheus reads a file whenever it is written."""
    text = json.dumps(document, indent=1)
    try:
        if path.read_text(encoding="utf-8") == text:
            return
    except OSError:
        pass
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(text, encoding="utf-8")
    new.replace(path)
