"""What waits is bounded, by number and by bytes."""

from __future__ import annotations

from typing import Any

from lockgate.services.serving.capture_queue import Queue


def test_no_more_records_than_that(make: Any) -> None:
    queue = Queue((), 0)
    queue.most_requests = 3
    assert [queue.put(make.record()) for _ in range(5)] == [True, True, True, False, False]
    queue.done(queue.take())
    assert queue.put(make.record())


def test_no_more_bytes_than_that_until_they_are_written(make: Any) -> None:
    queue = Queue((), 0)
    queue.most_bytes = 250
    assert [queue.put(make.record()) for _ in range(3)] == [True, True, False]
    taken = queue.take()
    assert not queue.put(make.record())  # the writer still holds them
    queue.done(taken)
    assert queue.put(make.record())


def test_one_batch_is_bounded_too(make: Any) -> None:
    queue = Queue((), 0)
    for _ in range(1500):
        queue.put(make.record())
    assert [len(queue.take()), len(queue.take()), len(queue.take())] == [1024, 476, 0]


def test_many_records_wake_the_writer(make: Any) -> None:
    queue = Queue((), 0)
    for _ in range(1025):
        queue.put(make.record())
    queue.wait(60)  # returns at once, or this test times out
