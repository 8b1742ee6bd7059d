"""A Prefect server for people who have none: loopback, no telemetry, stopped with us."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx

from lockgate.flows.errors import MissingPart
from lockgate.flows.home import home

_READY_WITHIN = 180.0
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
        _answers(url, 10.0, None)
        yield url
        return
    root = home().root / "prefect"
    root.mkdir(parents=True, exist_ok=True)
    os.environ["PREFECT_HOME"] = str(root)
    url = f"http://127.0.0.1:{port}/api"
    say(f"starting a Prefect server on http://127.0.0.1:{port} (its log: {root / 'server.log'})")
    with (root / "server.log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=log,
            env={**os.environ, "PREFECT_API_URL": url},
        )
    try:
        _answers(url, _READY_WITHIN, server)
        os.environ["PREFECT_API_URL"] = url
        yield url
    finally:
        os.environ.pop("PREFECT_API_URL", None)
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _answers(url: str, within: float, server: subprocess.Popen[bytes] | None) -> None:
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if server is not None and server.poll() is not None:
            raise MissingPart(
                f"the Prefect server ended with code {server.returncode}; its log says why."
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
