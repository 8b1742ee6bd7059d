"""Watches every pipeline of a home that is wanted up, once a second, and starts again what died.

It needs neither Prefect nor a registry. One process of a home does it at a time; others stand by for its end.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from lockgate.flows import logs, wanted
from lockgate.flows.beside import beside
from lockgate.flows.home import Home
from lockgate.flows.supervised import Pipeline

_LOG = logging.getLogger("lockgate.supervise")
TICK = 1.0


class Supervisor:
    def __init__(self, home: Home) -> None:
        self._home = home
        self._pipelines: dict[str, Pipeline] = {}
        self._lock: int | None = None
        self._told: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; what is being started then is waited for."""
        try:
            while not stop.wait(TICK):
                with self._goes_on("nothing can be looked after now"):
                    if self._first():
                        self.look(time.monotonic())
        finally:
            self.close()

    def look(self, now: float) -> None:
        """`now` is any clock's that never goes back, in seconds."""
        for name in wanted.names(self._home):
            with self._goes_on(f"{name} cannot be looked after now"):
                self._pipelines.setdefault(name, Pipeline(self._home, name)).look(now)
            with self._goes_on(f"the logs of {name} grow on"):
                logs.bound(self._home, name)

    @contextmanager
    def _goes_on(self, what: str) -> Iterator[None]:
        """Whatever happens inside, also what nobody thought of: it is said once, and tried again at the next look.

        Who watches must not end: the process around it would run on, and nobody would notice before something dies.
        """
        try:
            yield
            self._told.pop(what, None)
        except Exception as error:  # noqa: BLE001 - see above
            if self._told.get(what) != repr(error):
                _LOG.exception("%s", what)
            self._told[what] = repr(error)

    def close(self) -> None:
        for name, pipeline in self._pipelines.items():
            with self._goes_on(f"{name} cannot be left"):
                pipeline.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _first(self) -> bool:
        """Whether nobody else watches this home; the lock ends with its holder."""
        if self._lock is None:
            lock = os.open(self._home.root / "supervise.lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(lock)
                if isinstance(error, BlockingIOError):
                    return False
                raise
            self._lock = lock
        return True


@contextmanager
def supervising(home: Home) -> Iterator[None]:
    """Beside whatever else this process does, while the `with` lasts."""
    with beside(Supervisor(home).run, "supervisor"):
        yield
