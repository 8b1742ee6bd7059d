"""The candidate's side, second by second, from the router's Prometheus metrics.

Clients do not see it: answers to copies are thrown away, and what the candidate fails is answered by stable.
"""

from __future__ import annotations

import json
import re
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

EVERY = 1.0
_SAMPLE = re.compile(
    r'^envoy_cluster_upstream_rq_(completed|retry|xx)\{(?:envoy_response_code_class="(\d)",)?'
    r'envoy_cluster_name="(shadow|candidate_fb)"\} (\d+)$',
    re.MULTILINE,
)


def read(text: str) -> dict[str, int]:
    """Copies and live requests that ended at the candidate since the router started, and those of them it failed.

    A live request that the candidate fails is tried again on stable, so the second attempts are the failures.
    """
    found = {"copies": 0, "copies_failed": 0, "live": 0, "live_failed": 0}
    for name, status, cluster, value in _SAMPLE.findall(text):
        match (cluster, name, status):
            case ("shadow", "completed", _):
                found["copies"] = int(value)
            case ("shadow", "xx", "5"):
                found["copies_failed"] = int(value)
            case ("candidate_fb", "completed", _):
                found["live"] = int(value)
            case ("candidate_fb", "retry", _):
                found["live_failed"] = int(value)
    return found


class Counters:
    """While it is open, a line of JSON goes to `log` every second: the time and the counts."""

    def __init__(self, url: str, log: Path) -> None:
        self._url, self._log = url, log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="counters", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._log.open("w", encoding="utf-8") as log:
            while not self._stop.wait(EVERY):
                with suppress(OSError):  # a missed second is a gap in the picture, not an error
                    at, counts = time.time(), read(self._text())
                    log.write(json.dumps({"at": at, **counts}) + "\n")
                    log.flush()

    def _text(self) -> str:
        with urllib.request.urlopen(self._url, timeout=2) as answer:  # noqa: S310 - the router on this machine
            return str(answer.read(), "utf-8")
