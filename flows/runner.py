"""Prefect's runner, which gives up when its server does not answer for some seconds: it is begun anew when it does."""

from __future__ import annotations

import logging
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import httpx

from lockgate.flows.backoff import Backoff

_LOG = logging.getLogger("lockgate.supervise")
_LOOK_EVERY = 1.0


def serve_deployments(specs: Sequence[Path], every: float, url: str) -> None:
    """Run what Prefect schedules until this process is told to end. `url`: of Prefect's API."""
    backoff = Backoff()
    while True:
        signal.signal(signal.SIGTERM, _end)
        backoff.up(time.monotonic())
        if _serve(specs, every):
            return
        signal.signal(signal.SIGTERM, _end)  # a runner puts its own in place, which is of no use after its end
        _LOG.warning("the Prefect server at %s does not answer; nothing is scheduled until it does", url)
        while not backoff.due(time.monotonic()) or not _answers(url):
            time.sleep(_LOOK_EVERY)
        backoff.tried(time.monotonic())
        _LOG.warning("the Prefect server at %s answers; what it schedules runs", url)


def _serve(specs: Sequence[Path], every: float) -> bool:
    """Whether it was told to end; False when the server was lost."""
    from prefect import serve

    from lockgate.flows.pipeline import deployments

    told = True
    try:
        serve(*deployments(list(specs), every), limit=50, query_seconds=1, print_starting_message=True)
    except* (RuntimeError, httpx.TransportError, httpx.HTTPStatusError) as lost:
        _LOG.debug("the runner ended", exc_info=lost)
        told = False
    return told


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=5).is_success
    except httpx.HTTPError:
        return False


def _end(*_: object) -> NoReturn:
    sys.exit(0)
