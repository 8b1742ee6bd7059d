"""The server behind `POST /feedback`, which keeps what users did after they were answered: one for each pipeline.

It outlives whoever started it, like Envoy and the replicas, and is found again by its command line, which names its
folder. It follows `settings.json` by itself.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from lockgate.flows import feedback_process as process
from lockgate.flows.capture import alone, key_of, read_settings, write_private
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.rollout.envoy.folder import unix_socket
from lockgate.rollout.envoy.process import finish
from lockgate.rollout.errors import RouterDown
from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.store import Rollout

SETTINGS = "settings.json"
_TEMPORARY = "temporary"
"""Names the folder for temporary files of who was first here: TMPDIR of the next one may be another."""
_LOG = logging.getLogger("lockgate.feedback")


class FeedbackDown(RouterDown):
    """The server that keeps feedback does not run, and cannot be started."""


def wanted(rollout: RolloutSpec) -> bool:
    """Whether there is a metric whose outcomes come to `POST /feedback`."""
    return any(metric.fed for metric in rollout.business.values())


def needed(spec: Spec, opened: Rollout | None = None) -> bool:
    """Whether anything comes to `POST /feedback`, outcomes or labels. `opened`: what it was opened with counts then."""
    monitoring = opened.document.get("monitoring", {}) if opened else {"performance": spec.monitoring.performance}
    return wanted(opened.spec if opened else spec.rollout) or bool(monitoring.get("performance"))


def keep(spec: Spec) -> float:
    """Seconds: what is still in its window is neither refused as too old nor deleted, also what a database told."""
    return max(spec.monitoring.capture.keep, *(of.window + of.delay for of in spec.rollout.business.values()))


def address(home: Home, name: str) -> Path:
    """Where the server listens. Raises `RouterDown` where no path is short enough for a socket."""
    folder = _folder(home, name)
    noted = folder / _TEMPORARY
    before = Path(noted.read_text()) if noted.exists() else None
    return unix_socket(folder, "feedback.sock", before if before and before.is_dir() else None)


def ensure(home: Home, spec: Spec) -> None:
    """The server runs, answers and knows what the spec says now, where the spec has a metric or a label that it is for.

    Cheap where it does already; one that died or hangs is started again. Raises `FeedbackDown`.
    """
    if needed(spec):
        _settle(home, spec)
        revive(home, spec.name)


def revive(home: Home, name: str) -> None:
    """`ensure` with the settings that are there already."""
    folder, at = _folder(home, name), address(home, name)
    before = process.find(folder)
    if before and process.comes_up(before, at):
        return
    with alone(folder), _sentences(folder):
        found = process.find(folder)  # somebody else may have been here first
        if found and (process.answers(at) if found == before else process.comes_up(found, at)):
            return
        if found:
            _LOG.warning("the feedback server in %s hangs; it is started again", folder)
            finish(found)
        if at.parent != folder:
            (folder / _TEMPORARY).write_text(str(at.parent.parent))
        begun = process.spawn(folder, at)
        if not process.comes_up(begun, at):
            finish(begun)
            raise FeedbackDown(f"the feedback server does not start: {process.last_words(folder)}")


def stop(home: Home, name: str) -> bool:
    """End the server; what it keeps stays. Returns whether one ran."""
    folder = _folder(home, name)
    if not folder.exists():
        return False
    with alone(folder), _sentences(folder):
        if found := process.find(folder):
            finish(found)
        return found is not None


@contextmanager
def _sentences(folder: Path) -> Iterator[None]:
    """Raises `FeedbackDown` for a process that cannot be seen or ended."""
    try:
        yield
    except psutil.Error as odd:
        who = f"process {odd.pid}" if isinstance(getattr(odd, "pid", None), int) else "its process"
        said = f"the feedback server in {folder} cannot be ended ({type(odd).__name__}); see {who}"
        raise FeedbackDown(said) from odd


@dataclass
class Keeper:
    """Brings the server back beside the loop: a start takes a second, and a tick must not wait for it."""

    home: Home
    spec: Spec
    _thread: threading.Thread | None = None

    def look(self) -> None:
        if not needed(self.spec) or (self._thread is not None and self._thread.is_alive()):
            return
        self._thread = threading.Thread(target=self._ensure, name="feedback", daemon=True)
        self._thread.start()

    def join(self) -> None:
        if self._thread is not None:
            self._thread.join()

    def _ensure(self) -> None:
        try:
            ensure(self.home, self.spec)
        except (RouterDown, OSError, psutil.Error) as error:  # the next look tries again
            _LOG.warning("feedback is not taken now: %s", error)


def _folder(home: Home, name: str) -> Path:
    """As the server's command line names it, whatever links lead there."""
    return home.feedback(name).resolve()


def _settle(home: Home, spec: Spec) -> None:
    folder = _folder(home, spec.name)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    settings = _settings(spec) | {"key": key_of(home, spec)}
    if read_settings(folder / SETTINGS) != settings:
        with alone(folder):
            write_private(folder / SETTINGS, settings)


def _settings(spec: Spec) -> dict[str, Any]:
    of = spec.monitoring.performance
    fed = {name: metric for name, metric in spec.rollout.business.items() if metric.fed}
    return {
        "metrics": {name: {"kind": metric.kind} for name, metric in fed.items()},
        "labels": {of.label: {"kind": "class" if of.measure == "accuracy" else "number"}} if of else {},
        "keep": keep(spec),
        "max_size": spec.monitoring.capture.max_size,
        "header": spec.rollout.traffic.sticky.header.lower(),
    }
