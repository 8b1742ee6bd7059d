"""Requests that wait while the engine is busy are answered in one call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from .refusals import Overloaded
from .schema import Arrays

Run = Callable[[Arrays], Arrays]
_MANY = 0.2
"""Share of culprits from which looking for them by halves takes more calls than there are requests."""


@dataclass(slots=True)
class _Waiting:
    x: Arrays
    rows: int
    answer: asyncio.Future[Arrays]


class Batcher:
    """Takes what waits whenever the engine is free; a lone request waits only where `max_wait` seconds say so.

    A request never fails for its batch mates: each was validated before, and when the engine still raises, halves of
    that batch run again until the culprits are alone. Where every fifth was a culprit, the next batch runs one by one:
    a client that sends nothing else costs what it would cost without batches, and no more.
    """

    def __init__(self, run: Run, *, max_batch: int, max_wait: float, max_queue: int) -> None:
        self._run, self._max_batch, self._wait, self._max_queue = run, max_batch, max_wait, max_queue
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._busy = False
        self._culprits = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._engine = ThreadPoolExecutor(1, thread_name_prefix="engine")
        self.observe: Callable[[int], None] = lambda _rows: None

    def submit(self, x: Arrays, rows: int) -> asyncio.Future[Arrays]:
        """A future of the outputs; cancel it and its rows are never computed. Raises `Overloaded`."""
        if self._rows and self._rows + rows > self._max_queue:
            self._forget_the_gone()
        if self._rows and self._rows + rows > self._max_queue:
            raise Overloaded(f"{self._rows} rows wait already; send the request again later")
        loop = asyncio.get_running_loop()
        waiting = _Waiting(x, rows, loop.create_future())
        self._queue.append(waiting)
        self._rows += rows
        if not self._busy:
            self._schedule(loop)
        return waiting.answer

    def close(self) -> None:
        self._engine.shutdown(wait=False, cancel_futures=True)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        full = self._rows >= self._max_batch
        if self._timer is None and self._wait and not full:
            self._timer = loop.call_later(self._wait, self._go, loop)
        elif full or not self._wait:
            self._busy = True
            loop.call_soon(self._go, loop)  # the other callbacks that are ready queue up first

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batch = self._take()
        self._busy = bool(batch)
        if batch:
            call = self._engine.submit(self._call, batch)
            call.add_done_callback(lambda done: _threadsafe(loop, self._done, loop, batch, done))

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._max_batch):
            waiting = self._queue.popleft()
            self._rows -= waiting.rows
            if not waiting.answer.done():  # its caller timed out or went away
                batch.append(waiting)
                rows += waiting.rows
        return batch

    def _forget_the_gone(self) -> None:
        """Rows that nobody waits for take nobody's place."""
        self._queue = deque(waiting for waiting in self._queue if not waiting.answer.done())
        self._rows = sum(waiting.rows for waiting in self._queue)

    def _call(self, batch: list[_Waiting]) -> list[Arrays | Exception]:
        if len(batch) > 1 and self._culprits > _MANY:
            answers = [answer for waiting in batch for answer in self._answers([waiting])]
        else:
            answers = self._answers(batch)
        self._culprits = sum(isinstance(answer, Exception) for answer in answers) / len(answers)
        return answers

    def _answers(self, batch: list[_Waiting], *, fails: bool = False) -> list[Arrays | Exception]:
        """One for each. `fails`: it is known that the engine raises on all of them together."""
        if not fails or len(batch) == 1:
            try:
                return self._together(batch)
            except Exception as failed:  # noqa: BLE001 - an engine raises anything, and goes to its caller
                if len(batch) == 1:
                    return [failed]
        half = len(batch) // 2
        first = self._answers(batch[:half])
        innocent = not any(isinstance(answer, Exception) for answer in first)
        return first + self._answers(batch[half:], fails=innocent)

    def _together(self, batch: list[_Waiting]) -> list[Arrays | Exception]:
        if len(batch) > 1:
            joined = self._run({k: np.concatenate([w.x[k] for w in batch]) for k in batch[0].x})
            return _split(joined, [w.rows for w in batch])
        (alone,) = batch
        return [self._run(alone.x) if alone.rows <= self._max_batch else self._in_parts(alone)]

    def _in_parts(self, waiting: _Waiting) -> Arrays:
        step = self._max_batch
        parts = [self._run({k: v[i : i + step] for k, v in waiting.x.items()}) for i in range(0, waiting.rows, step)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _done(
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], call: Future[list[Arrays | Exception]]
    ) -> None:
        self.observe(sum(w.rows for w in batch))
        for waiting, answer in zip(batch, call.result(), strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
                waiting.answer.exception()  # where nobody waits any more, asyncio would log its text
            else:
                waiting.answer.set_result(answer)
        self._go(loop)


def _threadsafe(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: object) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(call, *args)


def _split(together: Arrays, sizes: list[int]) -> list[Arrays | Exception]:
    """Rows back to their requests; an engine that lost rows is an error of the whole batch."""
    total = sum(sizes)
    if lost := next((name for name, value in together.items() if len(value) != total), None):
        raise ValueError(f"output {lost!r} has {len(together[lost])} rows for {total}")
    ends = np.cumsum(sizes)
    return [
        {name: value[end - size : end] for name, value in together.items()}
        for size, end in zip(sizes, ends.tolist(), strict=True)
    ]
