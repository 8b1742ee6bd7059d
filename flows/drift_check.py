"""A look at the live inputs of one pipeline, in a rollout or not: kept in MLflow, and told when it changes.

<home>/<name>/drift.json    what the looks came to, for each reference: told first, then drawn
<home>/<name>/drift.lock    of the look under way
"""

from __future__ import annotations

import json
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from filelock import FileLock, Timeout

from lockgate.flows import drift_now, drift_performance
from lockgate.flows.approval.evidence import DRIFT
from lockgate.flows.approval.words import plain
from lockgate.flows.drift_known import Known, Memory
from lockgate.flows.drift_now import Now
from lockgate.flows.drift_told import Say, told
from lockgate.flows.home import Home
from lockgate.flows.notify.message import Message, Mood
from lockgate.flows.notify.words import harmless
from lockgate.flows.spec import Spec
from lockgate.monitoring.drift.words import Comparison
from lockgate.registry.words import Registry
from lockgate.rollout.store import Rollout, Store, opened

_DAY = 86_400.0
"""Seconds after which a page is made although nothing has changed: each takes seconds, and megabytes in MLflow."""
_BEHIND = 4
"""Looks that a driver may be behind ours."""
_NAMED = 16
"""Inputs that drift and are named to people, at most."""


def check(spec: Spec, where: Home, registry: Registry, say: Say, now: float | None = None) -> Now | None:
    """Compare; tell people when drift begins or ends, and keep a page in MLflow. None while another check is at it.

    A driver that looks at the inputs itself tells people. What a receiver did not take is told by the next check, and
    a page that could not be kept is made by it. Raises as `drift_now.compared` does.
    """
    folder = where.root / spec.name
    folder.mkdir(parents=True, exist_ok=True)
    try:
        alone = FileLock(folder / "drift.lock", mode=0o600).acquire(blocking=False)
    except Timeout:
        return None
    with alone:
        _performance(spec, where, say, now)
        return _looked(spec, where, registry, say, time.time() if now is None else now)


def _performance(spec: Spec, where: Home, say: Say, now: float | None) -> None:
    """First: it needs no reference of the inputs."""
    try:
        if found := drift_performance.look(spec, where, say, now):
            say(found.says)
    except Exception as error:  # noqa: BLE001 - the inputs are looked at all the same
        say(f"performance could not be looked at: {error}")


def _looked(spec: Spec, where: Home, registry: Registry, say: Say, now: float) -> Now:
    found = drift_now.compared(spec, where, now=now)
    with opened(where.store_url) as store:
        rollout = store.open_of(spec.name)
        theirs = rollout is not None and _driver_looks(store, rollout, found, now, spec.monitoring.drift.every)
    memory = Memory(where.root / spec.name / "drift.json", f"{found.side}:{found.digest or found.reference}", say)
    known = memory.known().after(found.comparison, found.window, now)
    if not theirs:
        known = replace(known, told=told(spec, known, found.comparison.drifting, _message(spec, found, known), say))
    memory.keep(known)  # before the page, which takes minutes: whoever is killed in it has told nobody twice
    if now - known.page_at >= _DAY and not found.comparison.undecided and _keep(spec, where, registry, found, say):
        memory.keep(replace(known, page_at=now))
    return found


def _driver_looks(store: Store, rollout: Rollout, found: Now, now: float, every: float) -> bool:
    """Whether who drives the rollout compares the inputs as well: then the rollout's log tells.

    A driver that does keeps what it found beside the log, every `every` seconds; one without a profile never does.
    """
    if not store.last(rollout.id).state.phase.stepping or not store.holder(rollout.id, now):
        return False
    noted = store.noted(rollout.id, DRIFT)
    return noted is not None and float(noted.get("until") or 0.0) >= found.comparison.until - _BEHIND * every


def _message(spec: Spec, found: Now, known: Known) -> Message:
    """Of clients' text there is none in it: no labels, no extreme values. `lockgate drift` shows those."""
    text = "Live inputs are again as the training data was."
    if known.drifting:
        text = f"{harmless(_inputs(found.comparison), spec.hide)}. `lockgate drift` shows how."
    facts = {"version": 1, "event": "drift", "name": spec.name, "model": spec.model.name}
    facts |= {"drifting": known.drifting, "of": found.side, "reason": text}
    return Message(f"{spec.name}: drift", text, facts, Mood.ASKS if known.drifting else Mood.GOOD)


def _inputs(found: Comparison) -> str:
    """Which drift, and how strongly."""
    worst = [of for of in found.drifted if of.role == "input"]
    every = sum(of.role == "input" for of in found.features)
    names = [f"{of.name} severely" if of.outcome == "severe" else of.name for of in worst[:_NAMED]]
    more = f" and {len(worst) - _NAMED} more" if len(worst) > _NAMED else ""
    return f"{len(worst)} of {every} inputs drift{'s' * (len(worst) == 1)}: {', '.join(names)}{more}"


def _keep(spec: Spec, where: Home, registry: Registry, found: Now, say: Say) -> bool:
    """The figures and Evidently's page, with the version whose training data it is. Whether they are kept."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    files = {"drift.json": json.dumps(plain(asdict(found.comparison)), indent=1, allow_nan=False).encode()}
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "drift.html"
            if why := drift_now.page(spec, where, found, path):
                say(why)
            else:
                files["drift.html"] = path.read_bytes()
        version = registry.resolve(spec.model.name, found.reference)
        registry.record(version, f"drift-{stamp}", files)
        registry.annotate(version.name, version.version, {"drift": found.comparison.says})
    except Exception as error:  # noqa: BLE001 - a full disk, a reference that is gone, a vendor's own: people are told
        say(f"the comparison could not be kept in MLflow, the next look tries again: {error}")
        return False
    return True
