"""Feedback on the rollout's address, from the client to the database."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import pytest

from lockgate.flows import feedback
from lockgate.flows.feedback import Keeper
from lockgate.monitoring.feedback.client import Feedback


def key(pipeline: Any) -> bytes:
    return bytes.fromhex(json.loads((pipeline.home.capture("toy") / "capture.json").read_text())["key"])


def test_what_a_user_did_is_kept_under_the_captures_name_for_the_user(pipeline: Any) -> None:
    pipeline.up()
    answer = pipeline.post({"metric": "conversion", "value": 1, "user": "u1"})
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "known": 0})
    assert pipeline.post({"metric": "revenue", "value": 12.5}, x_user_id="u1").status_code == 202
    by_name, by_header = pipeline.kept()
    assert by_name["unit"] == by_header["unit"]
    assert by_name["unit"] == hashlib.blake2b(b"u1", key=key(pipeline), digest_size=8).hexdigest()
    assert (by_header["metric"], by_header["value"], by_header["request_id"]) == ("revenue", 12.5, None)


def test_a_prediction_says_by_which_id_its_outcome_can_be_told(pipeline: Any) -> None:
    pipeline.up()
    predicted = pipeline.post({}, path="/predict")
    request_id = predicted.headers["x-request-id"]
    assert predicted.json() == {"asked": "POST /predict", "id": request_id}
    with Feedback(f"http://{pipeline.spec.rollout.traffic.listen}") as client:
        assert client.send("conversion", 1, request_id=request_id).accepted == 1
    assert [row["request_id"] for row in pipeline.kept()] == [request_id]


def test_what_is_wrong_with_it_reaches_the_client(pipeline: Any) -> None:
    pipeline.up()
    answer = pipeline.post([{"metric": "conversion", "value": 1, "user": "a"}, {"metric": "conversoin", "value": 1}])
    assert answer.status_code == 422
    assert answer.json()["errors"][0].startswith("row 2: ")
    assert pipeline.post({"metric": "conversion", "value": 1, "user": "a"}).json()["accepted"] == 1
    assert len(pipeline.kept()) == 1


def test_without_a_metric_that_it_is_for_the_path_is_the_models_own(pipeline: Any) -> None:
    sql = {"url": "sqlite:///x", "query": "select 1 where :since"}
    pipeline.metrics(conversion={"sql": sql})
    pipeline.up()
    assert pipeline.post({}).json()["asked"] == "POST /feedback"
    assert pipeline.server() is None
    assert not pipeline.folder.exists()


def test_a_changed_spec_is_taken_up_by_the_server_that_runs(pipeline: Any) -> None:
    pipeline.up()
    before = pipeline.server()
    assert pipeline.post({"metric": "signups", "value": 1, "user": "u"}).status_code == 422
    pipeline.metrics(signups={"kind": "binary"})
    pipeline.up()
    assert pipeline.post({"metric": "signups", "value": 1, "user": "u"}).status_code == 202
    assert pipeline.server() == before


def test_nothing_that_was_accepted_is_lost_when_the_server_is_killed(pipeline: Any) -> None:
    """Killed in the middle of the load three times, and brought back by the keeper beside the loop."""
    pipeline.up()
    accepted: list[str] = []
    statuses: set[int] = set()
    stop = threading.Event()

    def send(who: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"{who}-{number}"
            status = pipeline.post({"metric": "conversion", "value": 1, "request_id": name, "id": name}).status_code
            statuses.add(status)
            if status == 202:
                accepted.append(name)
                number += 1

    senders = [threading.Thread(target=send, args=(who,)) for who in range(3)]
    for sender in senders:
        sender.start()
    keeper = Keeper(pipeline.home, pipeline.spec)
    try:
        for _ in range(3):
            seen = len(accepted)
            pipeline.until(lambda seen=seen: len(accepted) > seen + 10)
            killed = pipeline.server()
            killed.kill()
            pipeline.until(lambda: pipeline.server() is None)
            pipeline.until(lambda: (keeper.look(), pipeline.server())[1])
            assert pipeline.server() != killed
        seen = len(accepted)
        pipeline.until(lambda: len(accepted) > seen + 10)
    finally:
        stop.set()
        keeper.join()
        for sender in senders:
            sender.join()
    assert statuses <= {202, 503}
    assert sorted(row["request_id"] for row in pipeline.kept()) == sorted(accepted)


def test_the_models_answer_while_the_server_is_down(pipeline: Any) -> None:
    pipeline.up()
    pipeline.server().kill()
    pipeline.until(lambda: pipeline.server() is None)
    assert pipeline.post({"metric": "conversion", "value": 1, "user": "u"}).status_code == 503
    assert pipeline.post({}, path="/predict").status_code == 200


@pytest.mark.parametrize("ran", [True, False])
def test_what_was_told_outlives_the_server(pipeline: Any, ran: object) -> None:
    pipeline.up()
    pipeline.post({"metric": "conversion", "value": 1, "user": "u"})
    if not ran:
        feedback.stop(pipeline.home, "toy")
    assert feedback.stop(pipeline.home, "toy") is ran
    assert pipeline.server() is None
    assert len(pipeline.kept()) == 1
    pipeline.up()
    assert pipeline.post({"metric": "conversion", "value": 1, "user": "u"}).status_code == 202
    assert len(pipeline.kept()) == 2
