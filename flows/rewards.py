"""What users did, for `ab` steps and `mean` gates: joined from captured traffic and feedback, or read elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from lockgate.flows.capture import SETTINGS, read_settings
from lockgate.flows.feedback import keep, needed
from lockgate.flows.reward_sources import Counted, Kept, Polled
from lockgate.flows.spec import Spec
from lockgate.monitoring.feedback import ledger_words
from lockgate.monitoring.feedback.ledger import Ledger, Measure, Traffic
from lockgate.monitoring.feedback.sql import SqlSource
from lockgate.monitoring.feedback.store import FILE
from lockgate.monitoring.measurement import Arrivals, Group
from lockgate.monitoring.prometheus import Prometheus
from lockgate.rollout.gates import Mean
from lockgate.rollout.metrics import Metric, Sql
from lockgate.rollout.ports import Span, Users
from lockgate.rollout.spec import AB_GATE, AbStep, RolloutSpec, ShadowStep


@dataclass(frozen=True, slots=True)
class Came:
    """Since the last look. `blind`: by gate."""

    rewards: Mapping[str, tuple[Group, ...]] = field(default_factory=dict)
    arrivals: tuple[Arrivals, ...] = ()
    blind: Mapping[str, str] = field(default_factory=dict)
    others: Mapping[str, Users] = field(default_factory=dict)
    """Of the challengers beside the candidate, by name."""


@dataclass(frozen=True, slots=True)
class Places:
    """Folders of one pipeline, and the rollout whose ledgers lie in `feedback`."""

    capture: Path
    feedback: Path
    rollout: str

    def ledger(self, step: int) -> Path:
        return self.feedback / f"{self.rollout}-{step}.db"

    def mark(self, step: int, metric: str) -> Path:
        """Of up to when a database was read."""
        return self.feedback / f"{self.rollout}-{step}-{metric}.sql.json"

    def forget(self) -> None:
        """The ledgers of a rollout that is over, and what goes with them."""
        with suppress(OSError):  # what cannot be deleted is in nobody's way
            for kind in ("db*", "sql.json", "sql.new"):
                for path in self.feedback.glob(f"{self.rollout}-*.{kind}"):
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
        self._facts = facts
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
            others = {name: self._facts.get(f"{name}_digest", "") for name in span.others}
            traffic = Traffic(self._places.capture, *self._digests, others)
            self._places.feedback.mkdir(parents=True, exist_ok=True, mode=0o700)
            at = self._places.ledger(span.step), self._places.feedback / FILE
            ledger = Ledger(*at, traffic, told, span.began, others=tuple(others))
        sources: dict[str, Polled | Counted] = {}
        for name, metric in metrics.items():
            if metric.sql:
                sources[name] = self._polled(span, name, metric, metric.sql)
            elif metric.promql:
                prometheus = Prometheus(self._spec.monitoring.prometheus or "")
                sources[name] = Counted(prometheus, metric.promql, metric.window)
        return _Step(span.step, ledger, sources)

    def _polled(self, span: Span, name: str, metric: Metric, of: Sql) -> Polled:
        key = bytes.fromhex(read_settings(self._places.capture / SETTINGS)["key"])
        source = SqlSource(of.url, of.query, of.every, of.late, key, name, metric.kind, span.began)
        mark = self._places.mark(span.step, name)
        before = None if needed(self._spec) else keep(self._spec)  # else the feedback server sees to it
        return Polled(source, metric, Kept(self._places.feedback / FILE, mark, before))


def _measure(metric: Metric) -> Measure:
    return Measure(metric.kind, metric.window, metric.take, metric.lowest, metric.highest, metric.delay)


@dataclass(slots=True)
class _Step:
    index: int
    ledger: Ledger | None
    sources: Mapping[str, Polled | Counted]
    notes: dict[str, int] = field(default_factory=dict)
    since: float | None = None
    """The last look that was recorded and in which the ledger was asked, or the first one."""
    asked: float | None = None
    """When the ledger was asked last, in a look of which nobody knows whether it was recorded."""

    def came(self, span: Span, by: Mapping[str, tuple[str, ...]]) -> Came:
        rewards: dict[str, tuple[Group, ...]] = {}
        arrivals: tuple[Arrivals, ...] = ()
        others: dict[str, Users] = {}
        blind: dict[str, str] = {}
        for name, source in self.sources.items():
            if groups := source.turn(span):
                rewards[name] = groups
            if source.blind:
                blind |= dict.fromkeys(by[name], source.blind)
        if self.ledger:
            came = self._told(self.ledger, span)
            rewards |= came.rewards
            arrivals = came.arrivals
            others = {name: Users(of.rewards, of.arrivals) for name, of in came.others.items()}
            if came.blind:  # who is assigned to what is known from nowhere else
                gates = [gate for name, gates in by.items() for gate in gates if self._needs_ledger(name, gate)]
                blind = dict.fromkeys(gates, came.blind) | blind
        return Came(rewards, arrivals, blind, others)

    def _told(self, ledger: Ledger, span: Span) -> ledger_words.Came:
        """By the ledger, unless users would be told as such who did nothing, whose database was not read yet."""
        if self.asked is not None and span.since >= self.asked:
            self.since, self.asked = self.asked, None
        self.since = span.since if self.since is None else min(self.since, span.since)
        for source in self.sources.values():
            if isinstance(source, Polled) and (why := source.behind(span.now)):
                return ledger_words.Came(blind=why)
        self.asked = span.now
        came = ledger.came(self.since, span.now, span.shares, span.others)
        self.notes = dict(came.notes)
        return came

    def _needs_ledger(self, metric: str, gate: str) -> bool:
        return gate == AB_GATE or not isinstance(self.sources.get(metric), Counted)

    def close(self) -> None:
        if self.ledger:
            self.ledger.__exit__(None, None, None)
        for source in self.sources.values():
            source.close()
