"""The demo's own bookkeeping: what counts as an answer, what counts as a split, and the picture."""

from __future__ import annotations

import io
import json
from pathlib import Path

import counters
import numpy as np
import orjson
import pandas as pd
import pytest
import replay
import timeline
import traffic

GOOD = orjson.dumps({"outputs": {"label": [1], "probabilities": [[0.25, 0.75]]}})


@pytest.mark.parametrize(
    ("status", "body", "answered", "why"),
    [
        (200, GOOD, "a", ""),
        (500, GOOD, "a", "status 500"),
        (200, GOOD, "b", "another request"),
        (200, b"{}", "a", "no prediction"),
        (200, b"<html>", "a", "no prediction"),
        (200, GOOD.replace(b"0.75", b"0.95"), "a", "no probability"),
        (200, GOOD.replace(b"[1]", b"[7]"), "a", "no probability"),
    ],
)
def test_only_a_prediction_for_this_request_is_an_answer(status: int, body: bytes, answered: str, why: str) -> None:
    found = replay.judged(status, body, asked="a", answered=answered)
    assert (why in found) if why else (found == "")


def asked(number: int, *, ok: bool = True, id_: str = "") -> replay.Asked:
    return replay.Asked(id_ or f"r{number}", "u", 0.0, 0.0, 1.0 + number, 200, "stable", "1", ok, "" if ok else "why")


def test_the_summary_counts_failures_and_repeats() -> None:
    tally = replay.Tally(io.BytesIO())
    for one in (asked(0), asked(1), asked(2, ok=False), asked(3, id_="r0")):
        tally.add(one)
    summary = tally.summary()
    assert (summary["requests"], summary["failed"], summary["repeated"]) == (4, 1, 1)
    assert summary["reasons"] == {"why": 1}


def rollout(weight: float, seconds: int) -> dict[str, object]:
    event = {"reason": "", "step": f"canary {weight:g} %", "weight_percent": weight}
    return {
        "rollout": "toy-1",
        "candidate_version": "2",
        "stable_version": "1",
        "phase": "succeeded",
        "reason": "every step passed",
        "opened_at": 1000.0,
        "closed_at": 1001.0 + seconds,
        "events": [
            {**event, "at": 1000.0, "phase": "progressing", "what": "built"},
            {**event, "at": 1000.0 + seconds, "phase": "succeeded", "what": "settled", "weight_percent": 100.0},
        ],
    }


def requests(share: float, seconds: int, rate: int = 100) -> pd.DataFrame:
    """Every user asks once; the first `share` of each hundred get the candidate."""
    n = seconds * rate
    candidate = (np.arange(n) * 37 % 100) < share * 100
    sent = 1000.0 + np.arange(n) / rate
    return pd.DataFrame(
        {
            "id": [f"r{i}" for i in range(n)],
            "user": [f"u{i}" for i in range(n)],
            "due": sent,
            "sent": sent,
            "ms": 2.0 + (np.arange(n) % 7),
            "status": 200,
            "variant": np.where(candidate, "candidate", "stable"),
            "version": np.where(candidate, "2", "1"),
            "ok": True,
        }
    )


@pytest.mark.parametrize(("share", "within"), [(0.10, True), (0.20, False)])
def test_a_split_is_held_against_its_weight(share: float, *, within: bool) -> None:
    found = traffic.splits(requests(share, 20), [rollout(10.0, 20)])
    assert [split.within for split in found] == [within]


def test_a_user_with_both_variants_in_a_step_is_outside_whatever_the_share() -> None:
    torn = requests(0.10, 20).assign(user="one")
    assert not traffic.splits(torn, [rollout(10.0, 20)])[0].within


def test_a_user_who_goes_back_to_stable_in_a_later_step_is_seen() -> None:
    event = {"reason": "", "phase": "progressing", "what": "judged"}
    steps = [
        {**event, "at": 1000.0, "step": "canary 10 %", "weight_percent": 10.0},
        {**event, "at": 1010.0, "step": "canary 50 %", "weight_percent": 50.0},
        {**event, "at": 1020.0, "step": "canary 50 %", "weight_percent": 100.0, "phase": "succeeded"},
    ]
    twice = pd.DataFrame(
        {"user": ["a", "b", "a", "b"], "sent": [1002.0, 1003.0, 1012.0, 1013.0], "variant": ["candidate", "stable"] * 2}
    )
    assert traffic.moved_back(twice, [rollout(10.0, 20) | {"events": steps}]) == 0
    back = twice.assign(variant=["candidate", "stable", "stable", "candidate"])
    assert traffic.moved_back(back, [rollout(10.0, 20) | {"events": steps}]) == 1


def test_a_split_leaves_out_the_second_in_which_a_weight_takes_effect() -> None:
    early = requests(0.10, 20)
    early.loc[early["sent"] < 1001.0, "variant"] = "stable"
    found = traffic.splits(early, [rollout(10.0, 20)])[0]
    assert (found.requests, found.within) == (1900, True)


def test_a_log_whose_last_line_was_cut_off_is_read(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    log.write_bytes(b'{"due": 2.0, "id": "b"}\n{"due": 1.0, "id": "a"}\n{"due": 3.0, "i')
    assert list(traffic.read_requests(log)["id"]) == ["a", "b"]


def test_counters_become_what_happened_per_second(tmp_path: Path) -> None:
    log = tmp_path / "counters.jsonl"
    looks = [{"at": 10.0, "copies": 5, "copies_failed": 0}, {"at": 12.0, "copies": 25, "copies_failed": 4}]
    log.write_text("\n".join(json.dumps(look | {"live": 0, "live_failed": 0}) for look in looks))
    assert traffic.read_counters(log)[["at", "copies", "copies_failed"]].to_numpy().tolist() == [[12.0, 10.0, 2.0]]
    log.write_text("")
    assert traffic.read_counters(log).empty


def test_the_routers_metrics_are_read() -> None:
    text = """\
envoy_cluster_upstream_rq_completed{envoy_cluster_name="shadow"} 1203
envoy_cluster_upstream_rq_xx{envoy_response_code_class="5",envoy_cluster_name="shadow"} 26
envoy_cluster_upstream_rq_xx{envoy_response_code_class="2",envoy_cluster_name="shadow"} 1177
envoy_cluster_upstream_rq_completed{envoy_cluster_name="candidate_fb"} 1554
envoy_cluster_upstream_rq_completed{envoy_cluster_name="candidate"} 99
envoy_cluster_upstream_rq_retry{envoy_cluster_name="candidate_fb"} 3
"""
    assert counters.read(text) == {"copies": 1203, "copies_failed": 26, "live": 1554, "live_failed": 3}


def test_the_picture_and_the_text_are_drawn(tmp_path: Path) -> None:
    second = {"copies": 5, "copies_failed": 0, "live": 9}
    looks = pd.DataFrame([second | {"at": 1000.0 + i, "live_failed": i % 2} for i in range(20)])
    told = timeline.Told(requests(0.10, 20), [rollout(10.0, 20)], looks.astype(float))
    timeline.draw(told, tmp_path / "timeline.png")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    lines = timeline.text(told).plain.splitlines()
    assert len(lines) == 2
    assert "canary 10 %" in lines[0]
    assert lines[1].endswith("version 2 promoted")
