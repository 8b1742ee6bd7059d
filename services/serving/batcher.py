"""Requests that wait while the engine is busy are answered in one call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue

import numpy as np

from .refusals import Overloaded
from .schema import Arrays
from .sizes import Sizes

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

    One thread calls the engine, and the event loop and it hand batches to each other as they are: an executor and its
    futures took as long as a small model.
    """

    def __init__(self, run: Run, *, max_batch: int, max_wait: float, max_queue: int) -> None:
        self._run, self._max_batch, self._wait, self._max_queue = run, max_batch, max_wait, max_queue
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._busy = self._closed = False
        self._culprits = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sizes = Sizes(max_batch)
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._engine: threading.Thread | None = None
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
        """Who waits, or comes later, is refused; the call that runs is answered."""
        self._closed, self._wait = True, 0.0
        self._calls.put(None)
        with suppress(IndexError, RuntimeError):  # nobody waits, or their loop is closed
            self._queue[0].answer.get_loop().call_soon_threadsafe(self._refuse)

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        full = self._rows >= self._sizes.most()
        if self._timer is None and self._wait and not full:
            self._timer = loop.call_later(self._wait, self._go, loop)
        elif full or not self._wait:
            self._busy = True
            loop.call_soon(self._go, loop)  # the other callbacks that are ready queue up first

    def _go(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._closed:
            self._refuse()
            return
        batch = self._take()
        self._busy = bool(batch)
        if batch:
            if self._engine is None:
                self._engine = threading.Thread(target=self._work, name="engine", daemon=True)
                self._engine.start()
            self._calls.put((loop, batch))

    def _refuse(self) -> None:
        self._busy = False
        while self._queue:
            waiting = self._queue.popleft()
            self._rows -= waiting.rows
            if not waiting.answer.done():
                waiting.answer.set_exception(Overloaded("this replica stops; send the request again"))
                waiting.answer.exception()  # where nobody waits any more, asyncio would log it

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        rows, most = 0, self._sizes.most()
        while self._queue and (not batch or rows + self._queue[0].rows <= most):
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

    def _work(self) -> None:
        """The engine's thread. Nothing ends it but `close`: those who wait would wait for ever."""
        while (call := self._calls.get()) is not None:
            loop, batch = call
            apart = self._apart(batch)
            started = time.perf_counter()
            try:
                answers = self._call(batch)
            except BaseException as odd:  # noqa: BLE001
                answers = [RuntimeError(f"the batch failed: {type(odd).__name__}")] * len(batch)
            seconds = 0.0 if apart else time.perf_counter() - started
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._done, loop, batch, answers, seconds)
            del call, batch, answers  # or they stay until the next call

    def _apart(self, batch: list[_Waiting]) -> bool:
        """Whether it runs one by one."""
        return len(batch) > 1 and self._culprits > _MANY

    def _call(self, batch: list[_Waiting]) -> list[Arrays | Exception]:
        if self._apart(batch):
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
        self, loop: asyncio.AbstractEventLoop, batch: list[_Waiting], answers: list[Arrays | Exception], seconds: float
    ) -> None:
        """`seconds`: of one call for all of them; 0 where they ran one by one, which says nothing of batches."""
        rows = sum(w.rows for w in batch)
        self.observe(rows)
        if seconds and rows <= self._max_batch and not any(isinstance(answer, Exception) for answer in answers):
            self._sizes.learn(rows, seconds)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
                waiting.answer.exception()  # where nobody waits any more, asyncio would log its text
            else:
                waiting.answer.set_result(answer)
        self._go(loop)


_Call = tuple[asyncio.AbstractEventLoop, list[_Waiting]]


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
