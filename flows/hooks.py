"""What MLflow's webhooks wake. They never carry the truth: what is woken looks for itself, and would do so anyway.

An alias that moved wakes the sweep of the specs that name it; an approval that was written wakes the driver.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self

from lockgate.flows.errors import MissingPart, SpecError
from lockgate.flows.home import Home
from lockgate.flows.hook_server import Refusal, Take
from lockgate.flows.spec import Spec, load
from lockgate.registry.approvals import APPROVAL
from lockgate.registry.deliveries import BadDelivery, Deliveries, Event, Replayed

_LOG = logging.getLogger("lockgate.hooks")
_FILE = "wake"


SECRET = "LOCKGATE_WEBHOOK_SECRET"  # noqa: S105 - its name
"""The environment variable that holds what MLflow signs its deliveries with."""


def secret() -> str:
    """Raises `MissingPart`."""
    if value := os.environ.get(SECRET, ""):
        return value
    raise MissingPart(
        f"webhooks need a secret that MLflow signs them with, or anybody could send them: set {SECRET}, the same for"
        " `lockgate serve` and `lockgate webhooks`, to what `openssl rand -hex 32` prints"
    )


def wake(home: Home, name: str) -> None:
    """Tell whoever drives the spec `name` that there may be something new on the version's page."""
    path = home.root / name / _FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    now = time.time()
    os.utime(path, (now, now))  # the kernel's own clock is some milliseconds behind


def woken(home: Home, name: str, since: float) -> bool:
    """Whether somebody woke the driver of `name` at `since`, in unix seconds, or later."""
    try:
        return (home.root / name / _FILE).stat().st_mtime >= since
    except OSError:
        return False


class Waker:
    """Acts on events. Sweeps are asked for in a thread of its own, and what comes meanwhile becomes one sweep."""

    def __init__(self, files: Sequence[Path], home: Home, sweep: Callable[[list[str]], object]) -> None:
        """`files`: the served specs, read anew for each event; `sweep` starts one for some of them."""
        self._files, self._home, self._sweep = files, home, sweep
        self._due: set[str] = set()
        self._some = threading.Condition()
        self._ends = False
        self._thread = threading.Thread(target=self._work, name="webhooks sweep", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._some:
            self._ends = True
            self._some.notify()
        self._thread.join(10)

    def take(self, event: Event) -> None:
        """What concerns no served spec wakes nobody."""
        about = (event.entity, event.action)
        for file, spec in self._served(event.name):
            if about == ("model_version_alias", "created") and event.alias in aliases(spec):
                _LOG.info("@%s of %s was moved: sweeping %s", event.alias, event.name, spec.name)
                with self._some:
                    self._due.add(str(file.absolute()))
                    self._some.notify()
            elif about[0] == "model_version_tag" and event.key == APPROVAL:
                _LOG.info("an approval of %s was written: waking the driver of %s", event.name, spec.name)
                wake(self._home, spec.name)

    def _served(self, model: str) -> list[tuple[Path, Spec]]:
        found = []
        for file in self._files:
            try:
                spec = load(file)
            except SpecError as error:
                _LOG.warning("a webhook wakes nobody for %s until it is mended: %s", file, error)
                continue
            if spec.model.name == model:
                found.append((file, spec))
        return found

    def _work(self) -> None:
        while True:
            with self._some:
                self._some.wait_for(lambda: self._due or self._ends)
                if self._ends:
                    return
                due, self._due = sorted(self._due), set()
            try:
                self._sweep(due)
            except Exception as error:  # noqa: BLE001 - whatever Prefect's API does, the next webhook finds us here
                _LOG.warning("no sweep was started, the next one on schedule sees it too: %s", error)


def aliases(spec: Spec) -> set[str]:
    """The aliases that the spec names, without their `@`."""
    named = (spec.model.stable, spec.model.candidate, *spec.model.others.values())
    return {reference.removeprefix("@") for reference in named if reference.startswith("@")}


def takes(deliveries: Deliveries, waker: Waker, now: Callable[[], float] = time.time) -> Take:
    """What the server does with a delivery: believe it or not, and wake whom it concerns."""

    def take(headers: Mapping[str, str], body: bytes) -> None:
        try:
            event = deliveries.take(headers, body, now())
        except Replayed as error:
            raise Refusal(HTTPStatus.CONFLICT, str(error)) from None
        except BadDelivery as error:
            raise Refusal(HTTPStatus.UNAUTHORIZED, str(error)) from None
        if not event.test:
            waker.take(event)

    return take
