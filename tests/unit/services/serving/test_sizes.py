from __future__ import annotations

import asyncio
import random
import statistics
import time

import numpy as np
import pytest

from lockgate.services.serving.batcher import Batcher
from lockgate.services.serving.schema import Arrays
from lockgate.services.serving.sizes import _TRY_AT_LEAST, _TRY_EVERY, Sizes


def after(sizes: Sizes, fixed: float, row: float, *, calls: int = 200, noise: float = 0.0) -> list[int]:
    """Sizes of the calls to an engine under load: more rows wait than ever go into one."""
    chance, found = random.Random(0), [1]
    for i in range(calls):
        rows = 1 if i % 8 == 7 else sizes.most()  # now and then only one waits
        found.append(rows)
        sizes.learn(rows, (fixed + row * rows) * (1 + noise * chance.random()))
    return found


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_an_engine_that_wins_by_batches_gets_whole_ones(noise: float) -> None:
    assert after(Sizes(64), fixed=0.02, row=0.001, noise=noise)[-20:].count(64) > 15


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_an_engine_that_wins_nothing_gets_few_rows(noise: float) -> None:
    found = after(Sizes(64), fixed=0.0005, row=0.017, noise=noise)
    assert statistics.mean(found[-100:]) < 1.5  # larger ones are tried now and then
    assert found[:10].count(64) >= 2  # it had its chance


def test_what_a_batch_wins_up_to_some_size_is_taken() -> None:
    """From 8 rows on the device is full: there each takes what one takes."""
    sizes = Sizes(64)
    for rows in (1, 2, 4, 8, 16, 32, 64) * 3:
        sizes.learn(rows, 0.02 * max(1, rows / 8))
    assert sizes.most() == 8


def test_two_rows_that_won_nothing_say_nothing_of_many() -> None:
    sizes = Sizes(64)
    for _ in range(5):
        sizes.learn(1, 0.02)
        sizes.learn(2, 0.05)  # something else ran meanwhile
    assert sizes.most() == 64


def test_a_short_call_is_never_made_shorter() -> None:
    assert after(Sizes(64), fixed=0.0, row=0.0001)[-1] in (1, 64)
    assert 64 in after(Sizes(64), fixed=0.0, row=0.0001)[-8:]


def test_an_engine_that_gets_better_at_batches_is_noticed() -> None:
    sizes = Sizes(16)
    after(sizes, fixed=0.0, row=0.02)
    assert sizes._worth == 1
    found = after(sizes, fixed=0.02, row=0.0002, calls=_TRY_EVERY * 40)
    assert found[-2] == 16


def test_larger_batches_that_win_nothing_are_tried_ever_less_often() -> None:
    sizes = Sizes(64)
    after(sizes, fixed=0.0, row=0.02, calls=30 * _TRY_AT_LEAST)
    found = after(sizes, fixed=0.0, row=0.02, calls=6 * _TRY_AT_LEAST)
    assert sorted({rows for rows in found if rows > 1}) == [2, 4, 8]
    assert sum(rows > 1 for rows in found) <= 7
    found = after(sizes, fixed=0.02, row=0.0002, calls=20 * _TRY_AT_LEAST)
    assert found[-2] == 64  # nevertheless it is noticed that the engine has changed


def test_where_nobody_waits_a_try_waits_too() -> None:
    sizes = Sizes(64)
    after(sizes, fixed=0.0, row=0.02)
    for _ in range(10 * _TRY_EVERY):
        sizes.learn(1, 0.02)
    assert sizes.most() > 1


def test_a_size_that_is_no_power_of_two_is_filled() -> None:
    assert after(Sizes(48), fixed=0.02, row=0.001)[-2] == 48


def test_the_batcher_learns_from_its_engine() -> None:
    def slow(x: Arrays) -> Arrays:
        calls.append(len(x["x"]))
        time.sleep(0.004 * len(x["x"]))
        return {"y": x["x"]}

    async def ask() -> None:
        for _ in range(5):
            answers = await asyncio.gather(*(batcher.submit({"x": np.full(1, float(i))}, 1) for i in range(8)))
            assert [a["y"].tolist() for a in answers] == [[float(i)] for i in range(8)]

    calls: list[int] = []
    batcher = Batcher(slow, max_batch=8, max_wait=0.0, max_queue=64)
    batcher._sizes.learn(1, 0.004)
    batcher._sizes.learn(1, 0.004)
    batcher._sizes.learn(1, 0.004)
    asyncio.run(ask())
    batcher.close()
    assert calls[:3] == [8, 8, 8]
    assert statistics.mean(calls[3:]) < 2


def test_what_ran_one_by_one_after_culprits_says_nothing_of_batches() -> None:
    def engine(x: Arrays) -> Arrays:
        time.sleep(0.003)
        if (x["x"] < 0).any():
            raise ValueError
        calls.append(len(x["x"]))
        return {"y": x["x"]}

    async def ask() -> None:
        for bad in (0, 4, 0, 4, 0, 4, 0, 0):
            values = [-1.0] * bad + [1.0] * (8 - bad)
            waiting = [batcher.submit({"x": np.full(1, value)}, 1) for value in values]
            await asyncio.gather(*waiting, return_exceptions=True)

    calls: list[int] = []
    batcher = Batcher(engine, max_batch=8, max_wait=0.0, max_queue=64)
    for _ in range(3):
        batcher._sizes.learn(1, 0.003)
    asyncio.run(ask())
    batcher.close()
    assert calls[-1] == 8
