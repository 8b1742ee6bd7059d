"""Envoy's admin socket."""

from __future__ import annotations

import json
from typing import Any

from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.errors import RouterDown

_SECONDS = 2.0


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

    def texts_and_numbers(self, names: str) -> dict[str, str]:
        """Statistics whose name matches the regular expression `names`: counters, gauges and texts, unparsed."""
        rows = (line.partition(": ") for line in self.get(f"/stats?filter={names}").splitlines())
        return {name: value.strip('"') for name, _, value in rows}

    def _send(self, method: str, path: str) -> str:
        import httpx

        try:
            # Read from the file each time: TMPDIR of the process that started Envoy may have been another one.
            socket = json.loads(self._at.bootstrap.read_bytes())["admin"]["address"]["pipe"]["path"]
            with httpx.Client(transport=httpx.HTTPTransport(uds=socket), timeout=_SECONDS) as client:
                answer = client.request(method, f"http://envoy{path}")
        except (OSError, ValueError, httpx.TransportError) as reason:
            raise RouterDown(
                f"the router in {self._at.path} does not answer ({reason}); see {self._at.envoy_log}"
            ) from None
        # 503 is how /ready says "not yet".
        if not answer.is_success and answer.status_code != httpx.codes.SERVICE_UNAVAILABLE:
            raise RouterDown(
                f"the router in {self._at.path} refused {path}: {answer.status_code} {answer.text.strip()}"
            )
        return answer.text
