"""Envoy's admin socket."""

from __future__ import annotations

import http.client
import json
import socket
from http import HTTPStatus
from typing import Any

from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.errors import RouterDown

_SECONDS = 5.0


class Admin:
    """Asks the Envoy of one run directory. Every call raises `RouterDown` when it does not answer."""

    def __init__(self, at: Folder) -> None:
        self._at = at

    def get(self, path: str) -> str:
        return self._send("GET", path)

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def post(self, path: str) -> None:
        self._send("POST", path)

    def ready(self) -> bool:
        try:
            return self.get("/ready").strip() == "LIVE"
        except RouterDown:
            return False

    def numbers_and_texts(self, names: str) -> dict[str, str]:
        """Statistics whose name matches the regular expression `names`: counters, gauges and texts, unparsed."""
        rows = (line.partition(": ") for line in self.get(f"/stats?filter={names}").splitlines())
        return {name: value.strip('"') for name, _, value in rows}

    def _send(self, method: str, path: str) -> str:
        try:
            # Read from the file each time: TMPDIR of the process that started Envoy may have been another one.
            bootstrap = json.loads(self._at.bootstrap.read_bytes())
            status, text = _exchange(bootstrap["admin"]["address"]["pipe"]["path"], method, path)
        except (OSError, ValueError, http.client.HTTPException) as reason:
            raise RouterDown(
                f"the router in {self._at.path} does not answer ({reason}); see {self._at.envoy_log}"
            ) from None
        # 503 is how /ready says "not yet".
        if status not in (HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE):
            raise RouterDown(f"the router in {self._at.path} refused {path}: {status} {text.strip()}")
        return text


def _exchange(unix_path: str, method: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("envoy")
    with socket.socket(socket.AF_UNIX) as connected:
        connected.settimeout(_SECONDS)
        connected.connect(unix_path)
        connection.sock = connected
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
