"""What users did, for `ab` steps and `mean` gates: joined from captured traffic and feedback, or read elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.flows.capture import SETTINGS
from lockgate.flows.spec import Spec
from lockgate.monitoring.feedback.errors import Unavailable
from lockgate.monitoring.feedback.ledger import Ledger, Measure, Traffic
from lockgate.monitoring.feedback.promql import Counters, Counts, counted, increase
from lockgate.monitoring.feedback.sql import SqlSource
from lockgate.monitoring.feedback.store import FILE, Store
from lockgate.monitoring.measurement import Arrivals, Group
from lockgate.monitoring.prometheus import Prometheus
from lockgate.rollout.gates import Mean
from lockgate.rollout.metrics import Metric, PromQL, Sql
from lockgate.rollout.ports import Span
from lockgate.rollout.spec import AB_GATE, AbStep, RolloutSpec, ShadowStep


@dataclass(frozen=True, slots=True)
class Came:
    """Since the last look. `blind`: by gate."""

    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one pipeline, and the rollout whose ledgers lie in `feedback`."""

    capture: Path
    feedback: Path
    rollout: str

    def ledger(self, step: int) -> Path:
        return self.feedback / f"{self.rollout}-{step}.db"

    def forget(self) -> None:
        """The ledgers of a rollout that is over."""
        with suppress(OSError):  # what cannot be deleted is in nobody's way
            for path in self.feedback.glob(f"{self.rollout}-*.db*"):
                path.unlink(missing_ok=True)


def asked(spec: RolloutSpec, step: int) -> dict[str, tuple[str, ...]]:
    """The business metrics that are looked at in this step, and by which gates."""
    it, by = spec.steps[step], dict[str, tuple[str, ...]]()
    if isinstance(it, AbStep):
        by[it.ab.metric] = (AB_GATE,)
    for name, gate in spec.gates.items():
        if isinstance(gate, Mean) and not isinstance(it, ShadowStep):
            by[gate.of] = (*by.get(gate.of, ()), name)
    return by


class Rewards:
    """Of one rollout. `facts`: what was built. Leave it when it is over."""

    def __init__(self, spec: Spec, facts: Mapping[str, str], places: Places) -> None:
        self._spec, self._places = spec, places
        self._digests = facts.get("stable_digest", ""), facts.get("candidate_digest", "")
        self._step: _Step | None = None

    def came(self, span: Span) -> Came:
        """What users did since the last look. Raises nothing, and waits for no other machine."""
        by = asked(self._spec.rollout, span.step)
        if not by:
            return Came()
        if self._step is None or self._step.index != span.step:
            self.close()
            self._step = self._opened(span, by)
        return self._step.came(span, by)

    @property
    def notes(self) -> dict[str, int]:
        """Of the step's feedback: rows by what became of them."""
        return self._step.notes if self._step else {}

    def close(self) -> None:
        if self._step:
            self._step.close()
            self._step = None

    def _opened(self, span: Span, by: Mapping[str, tuple[str, ...]]) -> _Step:
        metrics = {name: self._spec.rollout.metric(name) for name in by}
        ledger = None
        told = {name: _measure(metric) for name, metric in metrics.items() if not metric.promql}
        if told or isinstance(self._spec.rollout.steps[span.step], AbStep):
            traffic = Traffic(self._places.capture, *self._digests)
            self._places.feedback.mkdir(parents=True, exist_ok=True, mode=0o700)
            ledger = Ledger(self._places.ledger(span.step), self._places.feedback / FILE, traffic, told, span.began)
        sources: dict[str, _Polled | _Counted] = {}
        for name, metric in metrics.items():
            if metric.sql:
                source = self._source(name, metric.kind, metric.sql, span.began)
                sources[name] = _Polled(source, self._places.feedback / FILE)
            elif metric.promql:
                prometheus = Prometheus(self._spec.monitoring.prometheus or "")
                sources[name] = _Counted(prometheus, metric.promql, metric.window)
        return _Step(span.step, ledger, sources)

    def _source(self, metric: str, kind: str, of: Sql, began: float) -> SqlSource:
        key = bytes.fromhex(json.loads((self._places.capture / SETTINGS).read_text(encoding="utf-8"))["key"])
        return SqlSource(of.url, of.query, of.every, of.late, key, metric, kind, began)


def _measure(metric: Metric) -> Measure:
    return Measure(metric.kind, metric.window, metric.take, metric.lowest, metric.highest, metric.delay)


@dataclass(slots=True)
class _Step:
    index: int
    ledger: Ledger | None
    sources: Mapping[str, _Polled | _Counted]
    notes: dict[str, int] = field(default_factory=dict)

    def came(self, span: Span, by: Mapping[str, tuple[str, ...]]) -> Came:
        rewards: dict[str, tuple[Group, ...]] = {}
        arrivals: tuple[Arrivals, ...] = ()
        blind: dict[str, str] = {}
        for name, source in self.sources.items():
            if groups := source.turn(span):
                rewards[name] = groups
            if source.blind:
                blind |= dict.fromkeys(by[name], source.blind)
        # Users whose database did not answer would be told as users who did nothing: they wait for it.
        if self.ledger and not any(source.blind for source in self.sources.values() if isinstance(source, _Polled)):
            came = self.ledger.came(span.since, span.now, span.shares)
            rewards |= came.rewards
            arrivals, self.notes = came.arrivals, dict(came.notes)
            if came.blind:  # who is assigned to what is known from nowhere else
                gates = [gate for name, gates in by.items() for gate in gates if self._needs_ledger(name, gate)]
                blind |= dict.fromkeys(gates, came.blind)
        return Came(rewards, arrivals, blind)

    def _needs_ledger(self, metric: str, gate: str) -> bool:
        return gate == AB_GATE or not isinstance(self.sources.get(metric), _Counted)

    def close(self) -> None:
        if self.ledger:
            self.ledger.__exit__(None, None, None)
        for source in self.sources.values():
            source.close()


class _Beside:
    """Does one thing at a time in a thread of its own: what does not answer delays no tick."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._doing: Future[Any] | None = None
        self.blind = ""

    def done(self) -> Any | None:
        """What was done since the last call, or None; what could not be done makes `blind`, until something can."""
        if self._doing is None or not self._doing.done():
            return None
        doing, self._doing = self._doing, None
        try:
            found = doing.result()
        except Unavailable as reason:
            self.blind = str(reason)
            return None
        except Exception as odd:  # noqa: BLE001 - whatever a driver raises, traffic is still driven
            self.blind = f"the source cannot be read ({type(odd).__name__})"
            return None
        self.blind = ""
        return found

    def start(self, work: Any, *given: Any) -> None:
        if self._doing is None:
            self._doing = self._thread.submit(work, *given)

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


class _Polled(_Beside):
    """A database's rows become feedback like any other."""

    def __init__(self, source: SqlSource, feedback: Path) -> None:
        super().__init__("sql")
        self._source, self._feedback = source, feedback

    def turn(self, span: Span) -> tuple[Group, ...]:
        self.done()
        self.start(self._take, span.now)
        return ()

    def _take(self, now: float) -> None:
        if rows := self._source.poll(now):
            with Store(self._feedback) as store:
                store.add(rows, now)


class _Counted(_Beside):
    """An application's own counters. What they count between two readings is one group."""

    def __init__(self, prometheus: Prometheus, of: PromQL, window: float) -> None:
        super().__init__("promql")
        self._counters = Counters(prometheus, of.units, of.hits)
        self._every, self._window, self._asked = of.every, window, -of.every
        self._before: Counts | None = None
        self._share: tuple[float, float] | None = None

    def turn(self, span: Span) -> tuple[Group, ...]:
        now: Counts | None = self.done()
        share = span.shares[-1] if span.shares else None
        if share != self._share:
            self._share, self._before = share, None
        if share is None or span.now - share[0] < self._window:
            return ()  # what is done now was begun by users who came with another share
        if not 0 <= span.now - self._asked < self._every:
            self._asked = span.now
            self.start(self._counters.read, span.now)
        if now is None or self._asked < share[0] + self._window:
            return ()
        came, self._before = increase(self._before, now), counted(self._before, now)
        return (Group(share[1], came["stable"], came["candidate"]),)
