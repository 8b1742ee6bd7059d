"""A look at how well the version that serves answers, by the labels that came: told when it becomes worse.

<home>/<name>/performance.json          what the last look found: the exporter shows it
<home>/<name>/performance.known.json    what the looks came to, for each version, and who was told
<home>/<name>/performance.lock          of the look under way

It holds no rollout: that stable answers worse than it did is no reason to keep a better candidate from its place.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, replace

from filelock import FileLock, Timeout

from lockgate.flows import drift_baseline, drift_now
from lockgate.flows.approval.words import plain
from lockgate.flows.capture import write_private
from lockgate.flows.drift_known import CALM, Known, Memory
from lockgate.flows.drift_now import Whose
from lockgate.flows.drift_told import Say, told
from lockgate.flows.home import Home
from lockgate.flows.notify.message import Message, Mood
from lockgate.flows.spec import Spec
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.feedback.store import FILE
from lockgate.monitoring.performance.join import labelled
from lockgate.monitoring.performance.judge import judge, undecided
from lockgate.monitoring.performance.words import FOUND, Asked, Performance
from lockgate.registry.errors import RegistryError
from lockgate.rollout.store import opened


def measured(spec: Spec, where: Home) -> Performance | None:
    """Of the version that serves, now; None where the spec does not ask. Raises `StoreDown`, `OSError`."""
    asked = _asked(spec)
    return _measured(spec, where, _serving(spec, where), asked) if asked else None


def look(spec: Spec, where: Home, say: Say, now: float | None = None) -> Performance | None:
    """`measured`, and people are told when it begins to drift or is over. None while another look is at it."""
    asked = _asked(spec)
    folder = where.root / spec.name
    if asked is None:
        (folder / FOUND).unlink(missing_ok=True)  # or what was found last would be shown for ever
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        alone = FileLock(folder / "performance.lock", mode=0o600).acquire(blocking=False)
    except Timeout:
        return None
    with alone:
        whose = _serving(spec, where)
        found = _measured(spec, where, whose, asked)
        write_private(folder / FOUND, plain(asdict(found)))
        _follow(spec, where, (whose, found), say, time.time() if now is None else now)
    return found


def _asked(spec: Spec) -> Asked | None:
    of = spec.monitoring.performance
    return Asked(of.label, of.measure, of.output, of.margin, of.window) if of else None


def _serving(spec: Spec, where: Home) -> Whose:
    with opened(where.store_url) as store:
        return drift_now.whose(spec, where, store, "stable")


def _measured(spec: Spec, where: Home, whose: Whose, asked: Asked) -> Performance:
    if not whose.digest:
        why = f"{spec.model.name} {whose.reference} was not built here, so nobody knows which answers are its"
        return replace(undecided(asked, why), version=whose.reference)
    found = labelled(asked, where.capture(spec.name), where.feedback(spec.name) / FILE, whose.digest)
    try:
        judged = judge(asked, found, drift_baseline.baseline(spec, where, whose, asked))
    except (NoReference, RegistryError) as reason:
        judged = undecided(asked, f"it has no baseline: {reason}", found)
    return replace(judged, version=whose.reference)


def _follow(spec: Spec, where: Home, of: tuple[Whose, Performance], say: Say, now: float) -> None:
    """Tell, and keep with the version when it changes. What was told is kept first."""
    whose, found = of
    memory = Memory(where.root / spec.name / "performance.known.json", whose.digest or whose.reference, say)
    before = memory.known()
    known = _after(before, found, now)
    known = replace(known, told=told(spec, known, found.drifting, _message(spec, found, known), say))
    memory.keep(known)
    if known.page_at == 0 and (known.drifting or before.drifting) and _keep(spec, where, of, say):
        memory.keep(replace(known, page_at=now))


def _after(known: Known, found: Performance, now: float) -> Known:
    """What cannot be decided changes nothing, and a calm look without a new label neither."""
    if found.undecided:
        return replace(known, at=now)
    calm = 0 if found.drifting else min(CALM, known.calm + (found.received > known.seen))
    drifting = found.drifting or (known.drifting and calm < CALM)
    page_at = known.page_at if drifting == known.drifting else 0.0
    return replace(known, drifting=drifting, calm=calm, seen=found.received, page_at=page_at, at=now)


def _message(spec: Spec, found: Performance, known: Known) -> Message:
    """There is no text of clients in it."""
    text = f"Performance is again what it was: {found.says}."
    if known.drifting:
        text = f"Performance drifts: {found.says}. Nothing is held; `lockgate drift` shows more."
    facts = {"version": 1, "event": "drift", "name": spec.name, "model": spec.model.name}
    facts |= {"drifting": known.drifting, "of": "performance", "reason": found.says}
    return Message(f"{spec.name}: performance", text, facts, Mood.ASKS if known.drifting else Mood.GOOD)


def _keep(spec: Spec, where: Home, of: tuple[Whose, Performance], say: Say) -> bool:
    """The figures, with the version in the registry. Whether they are kept."""
    whose, found = of
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    files = {"performance.json": json.dumps(plain(asdict(found)), indent=1, allow_nan=False).encode()}
    try:
        registry = drift_now.registry_of(where)
        version = registry.resolve(spec.model.name, whose.reference)
        registry.record(version, f"performance-{stamp}", files)
        registry.annotate(version.name, version.version, {"performance": found.says})
    except Exception as error:  # noqa: BLE001 - a vendor's own: people are told all the same
        say(f"the figures of performance could not be kept in MLflow, the next look tries again: {error}")
        return False
    return True
