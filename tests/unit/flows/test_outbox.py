"""The control path only puts: nothing that a server does, or does not do, reaches it."""

from __future__ import annotations

import logging
import threading

import pytest

from lockgate.flows.outbox import Outbox


def test_what_is_put_is_done_in_order() -> None:
    done: list[int] = []
    with Outbox() as outbox:
        for i in range(5):
            outbox.put("number", lambda i=i: done.append(i))
    assert done == [0, 1, 2, 3, 4]
    assert outbox.dropped == 0


def test_a_full_box_drops_and_counts_and_never_blocks(caplog: pytest.LogCaptureFixture) -> None:
    stuck, begun = threading.Event(), threading.Event()

    def never_answers() -> None:
        begun.set()
        stuck.wait()

    with caplog.at_level(logging.WARNING), Outbox(room=2, linger=5) as outbox:
        outbox.put("a dead server", never_answers)
        begun.wait()
        for _ in range(5):
            outbox.put("late", lambda: None)
        assert outbox.dropped == 3
        stuck.set()
    assert "dropped: late" in caplog.text


def test_leaving_waits_only_so_long_for_a_server_that_never_answers() -> None:
    stuck, done = threading.Event(), threading.Event()
    with Outbox(linger=0.05) as outbox:
        outbox.put("a dead server", stuck.wait)
        outbox.put("after it", done.set)
    assert not done.is_set()  # we are out, and the server still has not answered
    stuck.set()
    done.wait()


def test_a_failure_is_logged_and_the_next_one_goes_out(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []

    def fails() -> None:
        raise ConnectionError("nobody there")

    with caplog.at_level(logging.WARNING), Outbox() as outbox:
        outbox.put("tags", fails)
        outbox.put("table", lambda: done.append("table"))
    assert done == ["table"]
    assert outbox.dropped == 1
    assert "tags failed: nobody there" in caplog.text
