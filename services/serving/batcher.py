"""Requests that wait while the engine is busy are answered in one call."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
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

    def told(self, answer: Arrays | Exception) -> None:
        """To who waits, if somebody does."""
        if self.answer.done():
            return
        if isinstance(answer, Exception):
            self.answer.set_exception(answer)
            self.answer.exception()  # where nobody waits any more, asyncio would log its text
        else:
            self.answer.set_result(answer)


class Batcher:
    """Takes what waits whenever the engine is free; a lone request waits only where `max_wait` seconds say so.

    A request never fails for its batch mates: each was validated before, and when the engine still raises, halves of
    that batch run again until the culprits are alone. Where every fifth was a culprit, the next batch runs one by one:
    a client that sends nothing else costs what it would cost without batches, and no more.

    One thread calls the engine, and the event loop and it hand batches to each other as they are: an executor and its
    futures took as long as a small model.

    `ragged`: a request's rows may have more values than another's. Only those that have as many are one call.
    """

    def __init__(self, run: Run, *, max_batch: int, max_wait: float, max_queue: int, ragged: bool = True) -> None:
        self._run, self._max_batch, self._wait, self._max_queue = run, max_batch, max_wait, max_queue
        self._ragged = ragged
        self._queue: deque[_Waiting] = deque()
        self._rows = 0
        self._busy = self._closed = False
        self.calling = False
        """Whether the engine's thread has a batch. Only the event loop changes that."""
        self._culprits = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._sizes = Sizes(max_batch)
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._engine: threading.Thread | None = None
        self._ran: list[_Ran] = []
        self.observe: Callable[[int], None] = lambda _rows: None
        """Told the rows of each call."""

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
            self.calling = True
            self._calls.put((loop, batch))

    def _refuse(self) -> None:
        self._busy = False
        while self._queue:
            waiting = self._queue.popleft()
            self._rows -= waiting.rows
            waiting.told(Overloaded("this replica stops; send the request again"))

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
            try:
                answers = self._call(batch)
            except BaseException as odd:  # noqa: BLE001
                lost = RuntimeError(f"the batch failed: {type(odd).__name__}")
                answers = [(waiting, lost) for waiting in batch]
            ran, self._ran = self._ran, []
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._done, loop, answers, ran)
            del call, batch, answers  # or they stay until the next call

    def _call(self, batch: list[_Waiting]) -> list[_Answer]:
        if len(batch) > 1 and self._culprits > _MANY:
            groups: Iterable[list[_Waiting]] = ([waiting] for waiting in batch)
        else:
            groups = _alike(batch) if self._ragged and len(batch) > 1 else (batch,)
        answers = [one for group in groups for one in zip(group, self._answers(group), strict=True)]
        self._culprits = sum(isinstance(answer, Exception) for _, answer in answers) / len(answers)
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
            rows = [w.rows for w in batch]
            return _split(self._once({k: np.concatenate([w.x[k] for w in batch]) for k in batch[0].x}, sum(rows)), rows)
        (alone,) = batch
        return [self._once(alone.x, alone.rows) if alone.rows <= self._max_batch else self._in_parts(alone)]

    def _in_parts(self, waiting: _Waiting) -> Arrays:
        step, rows = self._max_batch, waiting.rows
        parts = [
            self._once({k: v[i : i + step] for k, v in waiting.x.items()}, min(step, rows - i))
            for i in range(0, rows, step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _once(self, x: Arrays, rows: int) -> Arrays:
        """One call. What raises, raises sooner than it would have answered: its time says nothing of sizes."""
        started = time.perf_counter()
        self._ran.append((rows, 0.0))
        found = self._run(x)
        self._ran[-1] = rows, time.perf_counter() - started
        return found

    def _done(self, loop: asyncio.AbstractEventLoop, answers: list[_Answer], ran: list[_Ran]) -> None:
        """Whatever happens here, nobody is left waiting, and who comes next is served."""
        self.calling = False
        try:
            for waiting, answer in answers:
                waiting.told(answer)
            for rows, seconds in ran:
                self.observe(rows)
                if seconds:
                    self._sizes.learn(rows, seconds)
        finally:
            for waiting, _ in answers:
                waiting.told(RuntimeError("the answer could not be handed out"))
            self._go(loop)


_Call = tuple[asyncio.AbstractEventLoop, list[_Waiting]]
_Answer = tuple[_Waiting, Arrays | Exception]
_Ran = tuple[int, float]
"""Rows and seconds of one call; 0 seconds where it failed."""


def _alike(batch: list[_Waiting]) -> Iterable[list[_Waiting]]:
    """Those whose rows have the same shapes, together."""
    groups: dict[tuple[tuple[int, ...], ...], list[_Waiting]] = {}
    for waiting in batch:
        groups.setdefault(tuple(value.shape[1:] for value in waiting.x.values()), []).append(waiting)
    return groups.values()


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
