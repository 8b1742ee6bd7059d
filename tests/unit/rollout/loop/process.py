"""Processes that are frozen, go on and are killed between any two of their calls, all in one thread.

A process is the real code in greenlets: one for its main thread, and one for each thread that it starts. It can only be
stopped at a point: before a call to a port or the store takes effect, or after it did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, ClassVar

from greenlet import getcurrent, greenlet


class Killed(BaseException):
    """`kill -9`: no line of the process has an effect any more, whatever its `finally` says."""


class Process:
    current: ClassVar[Process | None] = None
    stopped: ClassVar[Counter[str]] = Counter()
    """How often a process was frozen or killed at which point, over all of them."""

    def __init__(self, name: str, main: Callable[[Process], object], ends: tuple[type[Exception], ...]) -> None:
        """`ends`: the errors that it may end with."""
        self.name, self._ends = name, ends
        self.dead = False
        self.frozen = False
        self.ended: Exception | None = None
        self.result: object = None
        self.points: int | None = None
        """How many it may still pass before it is frozen."""
        self.alone = False
        """In the router's lock: one that is frozen there holds everybody up, so that nothing happens meanwhile."""
        self._hub = getcurrent()
        self._main = greenlet(self._body(lambda: main(self)))
        self._threads: list[Thread] = []

    @property
    def over(self) -> bool:
        return self.dead or self._main.dead

    def go(self, points: int | None = None, *, lazy: bool = False) -> None:
        """On to its main thread's next sleep or its end, but not past so many points. `lazy`: no other thread runs."""
        self.points, self.frozen = points, False
        while not self.over and not self.frozen:
            if thread := None if lazy else next((t for t in self._threads if t.is_alive()), None):
                thread.greenlet.parent = self._hub
                self._switch(thread.greenlet)
            elif self._switch(self._main) == "slept":
                return

    def kill(self) -> None:
        self.dead = True
        for it in (*(t.greenlet for t in self._threads), self._main):
            if it and not it.dead:
                it.parent = self._hub
                it.throw(Killed)

    def sleep(self) -> None:
        if not self.dead:
            self._hub.switch("slept")

    def reach(self, point: str) -> None:
        if self.dead:
            raise Killed
        if self.points is None or self.alone:
            return
        self.points -= 1
        if self.points < 0:
            Process.stopped[point] += 1
            self.frozen = True
            self._hub.switch("frozen")

    def begin(self, thread: Thread) -> None:
        thread.greenlet = greenlet(self._body(thread.target, main=False))
        self._threads = [t for t in self._threads if t.is_alive()] + [thread]

    def _switch(self, to: greenlet) -> object:
        before, Process.current = Process.current, self
        self._hub = getcurrent()
        try:
            return to.switch()
        finally:
            Process.current = before

    def _body(self, act: Callable[[], object], *, main: bool = True) -> Callable[[], None]:
        def run() -> None:
            try:
                result = act()
            except Killed:
                return
            except self._ends as error:
                if not main:
                    raise AssertionError(f"a thread of {self.name} dies of {error!r}") from error
                self.ended = error
            else:
                self.result = result if main else self.result

        return run


class Thread:
    """In place of `threading.Thread`."""

    def __init__(self, target: Callable[[], object], args: tuple[Any, ...] = (), **_: object) -> None:
        self.target = lambda: target(*args)
        self.greenlet: Any = None

    def start(self) -> None:
        assert Process.current
        Process.current.begin(self)

    def is_alive(self) -> bool:
        return self.greenlet is not None and not self.greenlet.dead

    def join(self, within: float | None = None) -> None:  # noqa: ARG002 - threading's
        while self.is_alive() and Process.current and not Process.current.dead:
            self.greenlet.parent = getcurrent()
            self.greenlet.switch()


class Event:
    """In place of `threading.Event`: of a heart that beats no more often than its process runs."""

    def set(self) -> None: ...

    def wait(self, _: float) -> bool:
        return True


class Watched:
    """A port or a store as one process sees it: at each call it may be frozen or killed, before or after the effect."""

    def __init__(self, of: str, it: Any, process: Process, spy: Any) -> None:
        self._of, self._it, self._process, self._spy = of, it, process, spy

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._it, name)
        if not callable(found):
            return found

        def call(*args: Any, **more: Any) -> Any:
            self._process.reach(f"before {self._of}.{name}")
            result = self._spy.call(self._process, f"{self._of}.{name}", found, args, more)
            self._process.reach(f"after {self._of}.{name}")
            return result

        return call
