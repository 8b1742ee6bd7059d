"""What is shown of a rollout beside its log: the phase on the version's page, and what people look at."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from lockgate.flows import report
from lockgate.flows.approval.evidence import DRIFT
from lockgate.flows.approval.words import plain
from lockgate.flows.drift_watch import DriftWatch
from lockgate.flows.observer import Observation
from lockgate.flows.outbox import Outbox
from lockgate.flows.world import World
from lockgate.monitoring.drift.words import Comparison
from lockgate.rollout.state import State
from lockgate.rollout.store import Rollout


@dataclass
class Notes:
    """Each is written when it has changed."""

    world: World
    rollout: Rollout
    outbox: Outbox
    observation: Observation
    drift: DriftWatch
    _phase: str = ""
    _shown: list[dict[str, Any]] = field(default_factory=list)
    _counted: dict[str, int] = field(default_factory=dict)
    _compared: Comparison | None = None

    def keep(self, state: State) -> None:
        self._tag(state)
        examples = [asdict(example) for example in self.observation.examples()]
        if examples and examples != self._shown:
            self._note(report.DISAGREEMENTS, examples)
            self._shown = examples
        if (compared := self.drift.last) and compared is not self._compared:
            self._note(DRIFT, plain(asdict(compared)))
            self._compared = compared
        if (feedback := self.observation.feedback) and feedback != self._counted:
            self._note(report.FEEDBACK, feedback)
            self._counted = feedback

    def _note(self, name: str, document: Any) -> None:
        self.world.store.note(self.rollout.id, name, document)

    def _tag(self, state: State) -> None:
        """Show the phase on the version's page in the registry."""
        mark = f"{state.phase}/{state.step}"
        if mark == self._phase:
            return
        self._phase = mark
        tags = {"rollout": self.rollout.id, "phase": str(state.phase)}
        if digest := state.facts.get(f"{state.winner}_digest"):
            tags["artifact_digest"] = digest
        if state.phase.over:
            tags["decision"] = f"{state.phase}: {state.reason}"
        subject = self.rollout.subject
        for side in self.rollout.spec.challengers if state.phase.over else (state.winner,):
            send = partial(self.world.registry.annotate, subject["model"], subject[side], tags)
            self.outbox.put("tags in MLflow", send)
