"""Whether MLflow's server knows who approves: `lockgate-auth` says so with every answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from .client import asking, quiet_import
from .errors import RegistryDown
from .location import Location, without_password

HEADER = "X-Lockgate-Auth"
"""The header that `lockgate-auth` puts on every answer, also on those that refuse; its value is `1`."""
_FORGET = 60.0
"""Seconds after which a server that did not know people is asked again: it may have been restarted with the plugin."""
_VERSION = re.compile(r"\d+\.\d+[\w.+-]*")
_UNNAMED = (401, 403)


class People:
    def __init__(self, where: Location, clock: Callable[[], float] = time.monotonic) -> None:
        self._where, self._clock = where, clock
        self._known = False
        self._asked_at: float | None = None

    def known(self) -> bool:
        """A yes is kept for as long as this process lives, a no for a minute. Raises `RegistryDown`."""
        if self._known or not self._where.registry.startswith(("http://", "https://")):
            return self._known
        now = self._clock()
        if self._asked_at is None or now - self._asked_at >= _FORGET:
            self._known = self._ask()
            self._asked_at = now
        return self._known

    def _ask(self) -> bool:
        """With MLflow's own way to its server: passwords, tokens and certificates are as its client has them."""
        rest, credentials = quiet_import("mlflow.utils.rest_utils"), quiet_import("mlflow.utils.credentials")
        with asking(self._where):
            creds = credentials.get_default_host_creds(self._where.registry)
            answer = rest.http_request(creds, "/version", "GET")
        if str(answer.headers.get(HEADER, "")) == "1":
            return True
        if problem := _no_answer(answer):
            raise RegistryDown(f"MLflow at {self._where} did not say whether it knows who approves: {problem}.")
        return False


def _no_answer(answer: Any) -> str:
    """Why it is not MLflow that answers here, or not for us: nothing follows from that. Empty where it is."""
    if answer.history:
        at = without_password(answer.url.removesuffix("/version"))
        return f"it sent us on to {at}; where that is MLflow, set MLFLOW_TRACKING_URI to it"
    if answer.status_code in _UNNAMED:
        return (
            f"it answered {answer.status_code}; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, to somebody whom it knows"
        )
    if answer.status_code == 200 and _VERSION.fullmatch(answer.text.strip()):
        return ""
    what = "something else than its version" if answer.status_code == 200 else f"{answer.status_code}"
    return f"it answered {what}; check that MLFLOW_TRACKING_URI names MLflow, and what stands before it"
