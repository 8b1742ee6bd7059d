from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from lockgate.services.serving.batcher import Batcher
from lockgate.services.serving.refusals import Overloaded
from lockgate.services.serving.schema import Arrays

POISON = 666.0


class GatedEngine:
    """Doubles its rows; waits for `gate`, so that a test decides when the engine is busy."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.sizes: list[int] = []

    def __call__(self, x: Arrays) -> Arrays:
        self.gate.wait(10)
        self.sizes.append(len(x["x"]))
        if (x["x"] == POISON).any():
            raise ValueError("poison")
        return {"y": x["x"] * 2}


def one(value: float, rows: int = 1) -> Arrays:
    return {"x": np.full(rows, value)}


def batched(test: Callable[[GatedEngine, Batcher], Coroutine[Any, Any, None]], **limits: Any) -> None:
    engine = GatedEngine()
    batcher = Batcher(engine, **{"max_batch": 8, "max_wait": 0.0, "max_queue": 64} | limits)
    try:
        asyncio.run(test(engine, batcher))
    finally:
        engine.gate.set()
        batcher.close()


def test_one_bad_request_fails_alone() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        waiting = [batcher.submit(one(v), 1) for v in (1, 2, POISON, 4)]
        engine.gate.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert [isinstance(a, ValueError) for a in answers] == [False, False, True, False]
        assert [float(a["y"][0]) for a in answers if isinstance(a, dict)] == [2, 4, 8]
        assert engine.sizes == [4, 2, 1, 1]  # the first half is innocent, so the other one need not be asked whole

    batched(test)


@pytest.mark.parametrize("culprits", [{0}, {63}, {31, 32}, {5, 20, 40, 60}, set(range(0, 64, 2)), set(range(64))])
def test_culprits_are_found_in_few_calls_and_everybody_else_is_answered(culprits: set[int]) -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        for again in range(3):
            waiting = [batcher.submit(one(POISON if i in culprits else i), 1) for i in range(64)]
            answers = await asyncio.gather(*waiting, return_exceptions=True)
            assert {i for i, answer in enumerate(answers) if isinstance(answer, ValueError)} == culprits
            assert all(answers[i]["y"][0] == i * 2 for i in range(64) if i not in culprits)
            calls = len(engine.sizes)
            engine.sizes.clear()
            # one after the other once most are culprits: never more calls than requests
            assert calls <= (
                64 if again and len(culprits) > 12 else 1 + 12 * len(culprits) if len(culprits) < 5 else 127
            )

    batched(test, max_batch=64)


def test_after_poison_batches_are_whole_again() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        for value in (POISON, 1.0, 1.0):
            waiting = [batcher.submit(one(value), 1) for _ in range(8)]
            await asyncio.gather(*waiting, return_exceptions=True)
        assert engine.sizes[-9:] == [1] * 8 + [8]

    batched(test)


def test_rows_that_nobody_waits_for_take_nobodys_place() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        first = batcher.submit(one(0), 1)
        await asyncio.sleep(0)
        gone = [batcher.submit(one(1), 1) for _ in range(4)]
        for left in gone:
            left.cancel()
        stays = batcher.submit(one(2), 1)
        engine.gate.set()
        await asyncio.gather(first, stays)
        assert engine.sizes == [1, 1]

    batched(test, max_queue=4)


def test_what_waits_is_answered_together_and_each_gets_its_own_rows() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        first = batcher.submit(one(0), 1)
        await asyncio.sleep(0)  # the engine takes it
        rest = [batcher.submit(one(v, rows=v), v) for v in (1, 2, 3)]
        engine.gate.set()
        answers = await asyncio.gather(first, *rest)
        assert [a["y"].tolist() for a in answers] == [[0], [2], [4, 4], [6, 6, 6]]
        assert engine.sizes == [1, 6]

    batched(test)


def test_a_large_request_runs_in_parts() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        answer = await batcher.submit({"x": np.arange(20.0)}, 20)
        assert answer["y"].tolist() == (np.arange(20.0) * 2).tolist()
        assert engine.sizes == [8, 8, 4]

    batched(test)


def test_more_than_the_queue_holds_is_refused_and_the_rest_is_answered() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        first = batcher.submit(one(0), 1)
        await asyncio.sleep(0)
        waiting = [batcher.submit(one(1), 1) for _ in range(4)]
        with pytest.raises(Overloaded, match="4 rows wait already"):
            batcher.submit(one(1), 1)
        engine.gate.set()
        assert len(await asyncio.gather(first, *waiting)) == 5

    batched(test, max_queue=4)


def test_a_request_whose_caller_is_gone_is_not_computed() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        first = batcher.submit(one(0), 1)
        await asyncio.sleep(0)
        gone, stays = batcher.submit(one(1, rows=3), 3), batcher.submit(one(2), 1)
        gone.cancel()
        engine.gate.set()
        await asyncio.gather(first, stays)
        assert engine.sizes == [1, 1]

    batched(test)


def test_max_wait_waits_for_more_rows_but_not_once_the_batch_is_full() -> None:
    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        waiting = [batcher.submit(one(1), 1)]
        await asyncio.sleep(0)
        waiting += [batcher.submit(one(1, rows=7), 7)]  # full: the hour is over
        await asyncio.wait_for(asyncio.gather(*waiting), 10)
        assert engine.sizes == [8]

    batched(test, max_wait=3600.0)


def test_an_engine_that_loses_rows_fails_its_requests_instead_of_mixing_them() -> None:
    async def test() -> None:
        batcher = Batcher(lambda x: {"y": x["x"][:1]}, max_batch=8, max_wait=0.0, max_queue=64)
        answers = await asyncio.gather(*(batcher.submit(one(v), 1) for v in (1, 2)))
        assert [a["y"].tolist() for a in answers] == [[1], [2]]
        batcher.close()

    asyncio.run(test())


@pytest.mark.parametrize("max_wait", [0.0, 60.0])
def test_who_still_waits_when_it_closes_is_refused(max_wait: float) -> None:
    """And who comes then. The call that runs is answered."""

    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        runs = batcher.submit(one(1), 1)
        if not max_wait:
            await asyncio.sleep(0)  # the engine takes it
        waits = batcher.submit(one(2), 1)
        await asyncio.to_thread(batcher.close)
        late = batcher.submit(one(3), 1)
        engine.gate.set()
        found = await asyncio.wait_for(asyncio.gather(runs, waits, late, return_exceptions=True), 5)
        refused = [isinstance(answer, Overloaded) and "this replica stops" in str(answer) for answer in found]
        assert refused == [bool(max_wait), True, True]
        with pytest.raises(Overloaded):
            await asyncio.wait_for(batcher.submit(one(4), 1), 5)

    batched(test, max_wait=max_wait)


def test_an_error_that_nobody_waits_for_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio would log its text, which may repeat an input."""

    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        waiting = batcher.submit(one(POISON), 1)
        await asyncio.wait([waiting])

    batched(test)
    gc.collect()
    assert "poison" not in caplog.text


def test_one_observation_for_each_call_of_the_engine() -> None:
    """Of parts, of halves, and of what ran one by one."""

    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        seen: list[int] = []
        batcher.observe = seen.append
        engine.gate.set()
        await batcher.submit(one(1, rows=20), 20)
        for _ in range(2):
            await asyncio.gather(*(batcher.submit(one(v), 1) for v in (1, POISON)), return_exceptions=True)
        assert engine.sizes == seen == [8, 8, 4, 2, 1, 1, 1, 1]

    batched(test)


def test_rows_of_different_shapes_are_calls_of_their_own() -> None:
    """They cannot be one array, and none of them is a culprit."""

    async def test(engine: GatedEngine, batcher: Batcher) -> None:
        engine.gate.set()
        for _ in range(2):
            shapes = [(1, 2), (1, 3), (2, 2), (1, 3)]
            waiting = [batcher.submit({"x": np.full(shape, float(i))}, shape[0]) for i, shape in enumerate(shapes)]
            answers = await asyncio.gather(*waiting)
            assert [a["y"].shape for a in answers] == shapes
            assert [a["y"][0, 0] for a in answers] == [0, 2, 4, 6]
        assert engine.sizes == [3, 2] * 2
        assert sum(map(len, batcher._sizes._seconds.values())) == 4  # each call is learnt of

    batched(test)


def test_whatever_happens_while_answers_are_handed_out_the_next_request_is_served() -> None:
    """A future takes no StopIteration; and what counts the calls may fail."""

    def engine(x: Arrays) -> Arrays:
        if (x["x"] == POISON).any():
            raise StopIteration
        return x

    def broken(_rows: int) -> None:
        raise OSError

    async def test() -> None:
        odd: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: odd.append(context["exception"]))
        batcher = Batcher(engine, max_batch=8, max_wait=0.0, max_queue=64)
        for values in ([POISON], [1.0], [1.0, POISON, 2.0], [3.0]):
            waiting = [batcher.submit(one(value), 1) for value in values]
            found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), 5)
            assert [type(answer) for value, answer in zip(values, found, strict=True) if value == POISON] == [
                RuntimeError
            ] * values.count(POISON)
        batcher.observe = broken
        for _ in range(2):
            answer = await asyncio.wait_for(batcher.submit(one(4), 1), 5)
            assert answer["x"].tolist() == [4]
        assert [type(one) for one in odd] == [TypeError, TypeError, OSError, OSError]
        batcher.close()

    asyncio.run(test())
