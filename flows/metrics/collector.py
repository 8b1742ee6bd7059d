"""Reads the store when Prometheus asks, and never raises: a store that is down is a sample too."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from lockgate.flows import restarts
from lockgate.flows.approval.evidence import DRIFT
from lockgate.flows.home import Home
from lockgate.flows.metrics import artifacts, drift, gpus, performance, rollouts
from lockgate.flows.metrics.reader import Head, Reader
from lockgate.flows.metrics.sheet import Sheet
from lockgate.monitoring.catalog import PHASES
from lockgate.monitoring.gpus import Gpus
from lockgate.rollout.errors import StoreDown
from lockgate.rollout.store import Rollout
from lockgate.rollout.words import Phase

_LOG = logging.getLogger("lockgate.metrics")
_ENDS = tuple(phase for phase in PHASES if Phase(phase).over)


class RolloutCollector(Collector):
    """Of every pipeline, the open rollout or the last one. What cannot change any more is read once."""

    def __init__(self, where: Home, clock: Callable[[], float] = time.time, gpus: Gpus | None = None) -> None:
        self._home, self._clock = where, clock
        self._builds = artifacts.Builds(where.root / "builds")
        self._gpus = gpus or Gpus()
        self._store: Reader | None = None
        self._known: dict[str, Rollout] = {}
        self._ends: dict[str, str] = {}
        self._decided: dict[str, int | None] = {}
        self._errors = 0
        self._alone = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Nothing is read when the collector is registered."""
        return ()

    def collect(self) -> Iterator[Metric]:
        with self._alone:
            began = time.perf_counter()
            sheet, up = Sheet(), True
            try:
                self._put_all(sheet)
            except Exception as error:  # noqa: BLE001 - the scrape says that the store is down, and the log why
                up = False
                self._trouble("the store cannot be read", error)
            performance.put_all(sheet, self._home.root)
            gpus.put_all(sheet, self._gpus, self._home.root)
            sheet.put("lockgate_store_up", up)
            sheet.put("lockgate_exporter_scrape_errors_total", self._errors)
            sheet.put("lockgate_exporter_collect_seconds", time.perf_counter() - began)
        yield from sheet.families()

    def close(self) -> None:
        self._gpus.close()
        if self._store is not None:
            self._store.close()

    def _put_all(self, sheet: Sheet) -> None:
        for name in restarts.names(self._home):
            for part, n in restarts.counted(self._home, name).items():
                sheet.put("lockgate_restarts_total", n, name=name, part=part)
        if self._store is None:
            self._store = Reader(self._home.store_url)
        heads = self._store.heads()
        shown = {head.name: head for head in sorted(heads, key=lambda head: head.closed_at is None)}
        self._known = {head.id: self._known[head.id] for head in shown.values() if head.id in self._known}
        for head in shown.values():
            one = Sheet()
            try:
                self._put(one, self._store, head)
                self._put_ended(one, self._store, head.name, [other for other in heads if other.name == head.name])
            except StoreDown:
                raise
            except Exception as error:  # noqa: BLE001 - the others are shown all the same
                self._trouble(f"{head.id} cannot be read", error)
            else:
                sheet.add(one)

    def _put(self, sheet: Sheet, store: Reader, head: Head) -> None:
        rollout = self._rollout(store, head)
        state = rollouts.put(sheet, store, rollout, self._clock())
        artifacts.put(sheet, rollout.model, state.facts, self._builds)
        if note := store.noted(rollout.id, DRIFT):
            limits = rollout.document.get("monitoring", {}).get("drift", {})
            drift.put(sheet, rollout.model, note, limits)

    def _rollout(self, store: Reader, head: Head) -> Rollout:
        known = self._known.get(head.id)
        if known is None or known.closed_at != head.closed_at:
            known = self._known[head.id] = store.rollout(head.id)
        return known

    def _put_ended(self, sheet: Sheet, store: Reader, name: str, of: list[Head]) -> None:
        """`of`: every rollout of the pipeline."""
        ended = [head for head in of if head.closed_at is not None]
        if unknown := [head.id for head in ended if head.id not in self._ends]:
            self._ends |= store.phases(unknown)
        count = Counter(self._ends.get(head.id, "") for head in ended)
        for outcome in _ENDS:
            sheet.put("lockgate_rollouts_total", count[outcome], name=name, outcome=outcome)
        if ended:
            sheet.put("lockgate_rollout_requests_to_decision", self._to_decision(store, ended[-1].id), name=name)

    def _to_decision(self, store: Reader, rollout_id: str) -> int | None:
        if rollout_id not in self._decided:
            spec = store.rollout(rollout_id).spec
            self._decided[rollout_id] = rollouts.to_decision(spec, store.events(rollout_id))
        return self._decided[rollout_id]

    def _trouble(self, what: str, error: Exception) -> None:
        self._errors += 1
        _LOG.warning("%s: %s", what, error, exc_info=not isinstance(error, StoreDown))
