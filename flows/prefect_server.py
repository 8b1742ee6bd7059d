"""A Prefect server for people who have none: loopback, no telemetry, started again when it dies, stopped with us."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from lockgate.flows import logs
from lockgate.flows.backoff import Backoff
from lockgate.flows.beside import beside
from lockgate.flows.errors import MissingPart
from lockgate.flows.home import home

_LOG = logging.getLogger("lockgate.supervise")
_READY_WITHIN = 180.0
_LOOK_EVERY = 1.0
_SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
    # leases in memory die with the server and take the flow runs that hold them along
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_RUNNER_HEARTBEAT_FREQUENCY": "30",
}


@contextmanager
def prefect_server(port: int, say: Callable[[str], object]) -> Iterator[str]:
    """The API's URL, of the server that PREFECT_API_URL names or of one that lives as long as the `with`.

    Sets the environment for Prefect; import Prefect inside. Raises `MissingPart` when the server does not answer.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if url := os.environ.get("PREFECT_API_URL"):
        _answers(url, 10.0)
        yield url
        return
    root = home().root / "prefect"
    root.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(root)
    server = _Server(root, port)
    say(f"starting a Prefect server on http://127.0.0.1:{port} (its log: {server.log})")
    server.start()
    try:
        _answers(server.url, _READY_WITHIN, server)
        os.environ["PREFECT_API_URL"] = server.url
        with server.kept():
            yield server.url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.end()


class _Server:
    """One process, in a session of its own; `server.pid` in `root` leads a later process to one that was left."""

    def __init__(self, root: Path, port: int) -> None:
        self._root, self._port = root, port
        self.url = f"http://127.0.0.1:{port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self._root / "server.log"

    def start(self) -> None:
        """After the end of whatever is left of the one before: it would hold the port."""
        self._end_left()
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PREFECT_API_URL": self.url},
                start_new_session=True,
            )
        created = psutil.Process(self._process.pid).create_time()
        (self._root / "server.pid").write_text(f"{self._process.pid} {created}")

    def ended(self) -> int | None:
        """With which code; None while it runs."""
        return self._process.poll() if self._process else None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the `with` lasts, it is started again whenever it has died."""
        with beside(self._keep, "prefect-server"):
            yield

    def end(self) -> None:
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
            self._end_left()

    def _keep(self, stop: threading.Event) -> None:
        backoff = Backoff()
        while not stop.wait(_LOOK_EVERY):
            now = time.monotonic()
            code = self.ended()
            if code is None:
                backoff.up(now)
                logs.cut(self.log)
            elif backoff.due(now):
                try:
                    self.start()
                    _LOG.warning("the Prefect server ended with code %s and was started again; see %s", code, self.log)
                except (OSError, psutil.Error) as error:
                    _LOG.warning("the Prefect server could not be started again: %s", error)
                backoff.tried(now)

    def _end_left(self) -> None:
        """The whole session: what the server started must not outlive it."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid, created = (self._root / "server.pid").read_text().split()
            left = [process for process in psutil.process_iter() if _session(process.pid) == int(pid)]
            first = min((process.create_time() for process in left), default=0.0)
            if left and first >= float(created) - 1:  # else the number has been given to another session since
                for process in left:
                    with contextlib.suppress(psutil.Error):
                        process.send_signal(signal.SIGKILL)
                psutil.wait_procs(left, timeout=5)
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _answers(url: str, within: float, server: _Server | None = None) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if server is not None and server.ended() is not None:
            raise MissingPart(
                f"the Prefect server ended with code {server.ended()}; its log says why."
                " Is the port in use? `lockgate serve --port` takes another"
            )
        try:
            if httpx.get(f"{url}/health", timeout=5).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise MissingPart(
        f"the Prefect server at {url} did not answer within {within:g} s; start it or unset PREFECT_API_URL"
    )
