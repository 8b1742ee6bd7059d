"""A Prometheus that dies while a rollout asks it: its gate is an error, which holds the step, and nobody is blamed."""

from __future__ import annotations

import shutil
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from lockgate.flows.observer import Observation
from lockgate.flows.observing import folder
from lockgate.flows.observing.prometheus import prometheus
from lockgate.flows.spec import Spec
from lockgate.monitoring.measurement import Histogram, Tally
from lockgate.rollout.advance import advance
from lockgate.rollout.analysis.analysis import Analysis
from lockgate.rollout.analysis.words import Look
from lockgate.rollout.ports import Span
from lockgate.rollout.state import Judged, State
from lockgate.rollout.words import Outcome, Phase

EDGES = (1.0, float("inf"))


def free() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


class Driven:
    """A canary step, a second a look: the verdict of each, and the state after it."""

    def __init__(self, spec: Spec, seen: Observation) -> None:
        self.spec, self.seen = spec.rollout, seen
        self.analysis = Analysis(self.spec)
        self.evidence = self.analysis.begin()
        self.state, self.now = State(Phase.PROGRESSING), 0.0

    def look(self) -> Any:
        self.now += 1.0
        readings = self.seen.observe(Span(0, 0.0, self.now)).readings
        many = int(self.now) * 400
        tally = Tally(many, 0, Histogram(EDGES, (many, many)))
        self.evidence = self.analysis.look(self.evidence, Look(0, self.now, tally, tally, readings=readings))
        verdict = self.analysis.verdict(self.evidence, 0)
        self.state = advance(self.spec, self.state, Judged(verdict), self.now)
        return {gate.gate: gate for gate in verdict.gates}

    def until(self, gate: str, outcome: Outcome) -> Any:
        deadline = time.monotonic() + 30
        while (found := self.look())[gate].outcome is not outcome:
            assert time.monotonic() < deadline, found
            time.sleep(0.05)
        return found


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="there is no prometheus on this machine")
def test_its_gate_holds_the_step_the_others_judge_on_and_it_goes_on_when_it_is_back(tmp_path: Path) -> None:
    at = free()
    spec = Spec.model_validate(
        {
            "name": "fraud",
            "model": {"name": "fraud-detector"},
            "monitoring": {"prometheus": f"http://{at}"},
            "rollout": {
                # The hold is never over by itself here: only the verdict is looked at, until the end.
                "steps": [{"canary": {"weight": 50, "hold": {"duration": "1d"}, "timeout": "30d"}}],
                "gates": {
                    "errors": {"metric": "error_rate", "margin": "5%"},
                    "slo": {"metric": "query", "query": "vector(0.01)", "max": 0.5, "every": "1s"},
                },
            },
        }
    )
    folder.written(tmp_path, folder.Wanted(free(), 1.0, 99.9))
    facts = {"stable_digest": "a" * 64, "candidate_digest": "b" * 64, "candidate_version": "7"}
    with Observation(spec, facts, tmp_path) as seen:
        driven = Driven(spec, seen)
        with prometheus(tmp_path, at, 3600.0) as process:
            driven.until("slo", Outcome.PASS)
            process.kill()
            process.wait()
            found = driven.until("slo", Outcome.ERROR)
        assert found["errors"].outcome is Outcome.PASS
        assert at in found["slo"].sentence
        driven.now += 2 * 86_400  # longer than the step holds
        driven.look()
        assert (driven.state.phase, driven.state.step) == (Phase.PROGRESSING, 0)
        with prometheus(tmp_path, at, 3600.0):
            driven.until("slo", Outcome.PASS)
    assert driven.state.phase is Phase.PROMOTING
