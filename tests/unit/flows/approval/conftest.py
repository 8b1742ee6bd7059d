"""Rollouts that wait for a person, in one line; and what a person who means harm would call things."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lockgate.rollout.spec import RolloutSpec
from lockgate.rollout.state import Asked, Built, Decided, Judged
from lockgate.rollout.store import Rollout, Store, opened
from lockgate.rollout.verdict import GateVerdict, Verdict
from lockgate.rollout.words import Outcome
from lockgate.services.compile.words import Candidate, Head, ParityEvidence, Row, Timing
from lockgate.services.words import Bento, Build

SPEC = RolloutSpec.model_validate(
    {
        "steps": [
            {"shadow": {"percent": 100}},
            {"canary": {"weight": 5}},
            {"approval": {"role": "risk-leads", "expires": "24h"}},
        ],
        "gates": {
            "errors": {"metric": "error_rate"},
            "latency": {"metric": "latency"},
            "agreement": {"metric": "disagreement"},
            "scores": {"metric": "prediction_drift"},
        },
    }
)
SEVERAL = RolloutSpec.model_validate(
    {
        "steps": [
            {"shadow": {}},
            {"ab": {"weight": 50, "metric": "sold", "others": ["blue"], "timeout": "7d"}},
            {"approval": {}},
        ],
        "gates": {"errors": {"metric": "error_rate"}},
    }
)
FACTS = {
    "candidate_parity": "256 rows, largest difference 1.2e-07 in score",
    "candidate_bento": "fraud:b",
    "candidate_digest": "b" * 64,
    "candidate_target": "onnxruntime",
    "candidate_precision": "int8",
    "stable_bento": "fraud:a",
    "stable_digest": "a" * 64,
    "stable_target": "eager",
    "stable_precision": "fp32",
}
EVIL = (
    "a|b\n`c` **d** _e_ <script>alert(1)</script> [x](javascript:y) ![i](z) & \"q' @who :smile: http://x.y www.z.y"
    " \u202e\x00~~s~~"
)
"""A name that means something to everything it could be written into."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with opened(f"sqlite:///{tmp_path / 'state.db'}") as it:
        yield it


def rollout_of(store: Store, spec: RolloutSpec = SPEC, model: str = "fraud", **subject: str) -> Rollout:
    versions = {"model": model, "stable": "4", "candidate": "5", **subject}
    it = Rollout("fraud-1", "fraud", spec, versions, {}, 1000.0, None)
    store.open(it, 1000.0)
    return it


def happen(store: Store, rollout: Rollout, *happened: Any) -> None:
    """One after another, a minute apart."""
    for one in happened:
        last = store.last(rollout.id)
        store.append(rollout, last, one, last.at + 60.0)


def gate(name: str, metric: str = "error_rate", word: str = "pass", **numbers: Any) -> GateVerdict:
    figures = {"candidate": 0.002, "stable": 0.001, "limit": 0.006, **numbers}
    return GateVerdict(
        gate=name,
        metric=metric,
        outcome=Outcome(word),
        candidate_requests=1000,
        stable_requests=19_000,
        harm=0.5,
        safety=40.0,
        sentence=f"{name}: {word}, 2 of 1000",
        fails_from=40.0,
        passes_from=20.0,
        **figures,
    )


GATES = (
    gate("errors"),
    gate("latency", "latency", candidate=8.4, stable=8.1, limit=11.7),
    gate("agreement", "disagreement", candidate=0.004, stable=0.001, limit=0.01),
    gate("scores", "prediction_drift", candidate=0.03, stable=None, limit=0.1),
)


def judged(*gates: GateVerdict, word: str = "pass", reason: str = "", **more: Any) -> Judged:
    return Judged(Verdict(Outcome(word), gates, 1000, 0.05, reason, 7, **more))


def waiting(store: Store, **subject: str) -> Rollout:
    """Shadow and canary passed; the approval is what is next."""
    it = rollout_of(store, **subject)
    quiet = gate("agreement", "disagreement", votes=False)
    happen(store, it, Built(FACTS), judged(*GATES), judged(*GATES[:2], quiet, GATES[3]))
    return it


def approval(digest: str, by: str = "ada", *, yes: bool = True, **more: Any) -> tuple[Asked, Decided]:
    return Asked(digest, "b" * 64, 90_000.0), Decided(yes, by, "p99 is fine", digest, **more)


PROVEN = ParityEvidence(
    256, 1.2e-7, 2e-8, 0.998, "score", passed=True, heads=(Head("score", 1.2e-7, 2e-8, 1e-7, 0.998),), cases=("sample",)
)
BUILD = Build(
    Bento("fraud:b", "fraud", "5", "b" * 64, "onnxruntime", "int8"),
    PROVEN,
    (
        Row(Candidate("onnxruntime", "int8"), "chosen", parity=PROVEN, timings=(Timing(1, 3e-5, 5e-5, 9, 900),)),
        Row(Candidate("eager"), "slower", "6.8 times as long", parity=PROVEN, timings=(Timing(1, 2e-4, 3e-4, 9, 90),)),
        Row(Candidate("tensorrt"), "refused", "no GPU"),
    ),
)


class Page(HTMLParser):
    """Every element that is opened is closed, in order; what stands between them is `text`."""

    VOID = frozenset({"meta", "img", "br"})

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
