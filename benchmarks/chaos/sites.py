"""Every place at which a driver can be struck: before and after each call of a port, and before each change of a file.

A site is its name and the phase in which the rollout is there. Nothing in the product knows of them: calls are wrapped
in the driver's own process, and Python's audit events tell of files, processes and signals.
"""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from lockgate.rollout.store import Event, Rollout

_NUMBERS = re.compile(r"[0-9a-f]{12,}|\d+")
_FILES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
_STARTS = ("subprocess.Popen", "os.posix_spawn")


class Sites:
    """Each of the `arms` waits for its phase and its site, for the `nth` time. `strike` does it."""

    def __init__(self, arms: list[dict[str, Any]], told: int, home: str) -> None:
        self.phase, self._rollout = "opening", ""
        self.strike: Callable[[dict[str, Any]], None] = self.tell
        self.possible: Callable[[dict[str, Any]], bool] = bool
        self._arms, self._told, self._home = list(arms), told, home
        self._seen: Counter[tuple[str, str]] = Counter()
        self._inside = threading.local()
        self._lock = threading.RLock()

    def reached(self, name: str) -> None:
        if getattr(self._inside, "yes", False):
            return  # what a strike does itself is no site
        with self._lock:
            self._inside.yes = True
            try:
                self._reached(name)
            finally:
                self._inside.yes = False

    def _reached(self, name: str) -> None:
        here = self.phase, name
        self._seen[here] += 1
        if self._seen[here] == 1:
            self.tell({"seen": here})
        if arm := next((arm for arm in self._arms if self._waits_for(arm, here) and self.possible(arm)), None):
            self._arms.remove(arm)
            if not _first(arm):
                return
            self.tell({"fired": arm["point"], "phase": here[0], "site": name})
            self.strike(arm)

    def _waits_for(self, arm: dict[str, Any], here: tuple[str, str]) -> bool:
        return (arm["phase"], arm["site"]) == here and self._seen[here] >= arm["nth"]

    def tell(self, what: dict[str, Any]) -> None:
        """One write, so that it is there whatever happens next."""
        os.write(self._told, (json.dumps({**what, "pid": os.getpid(), "at": time.time()}) + "\n").encode())

    def watch(self, of: type | ModuleType, *names: str) -> None:
        """Wrap methods of a class, or functions of a module."""
        for name in names:
            setattr(of, name, self._wrapped(getattr(of, name), f"{of.__name__.rpartition('.')[2]}.{name}"))

    def _wrapped(self, method: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            self.reached(f"before {name}")
            found = method(*args, **kwargs)
            self._follow(args, found)
            self.reached(f"after {name}")
            return found

        return call

    def _follow(self, args: tuple[Any, ...], found: Any) -> None:
        """The phase of the rollout that is driven; others are looked at on the way."""
        for one in (found, *args[1:2]):
            if isinstance(one, Rollout) and one.closed_at is None:
                self._rollout = one.id
        if isinstance(found, Event) and getattr(args[1], "id", args[1]) == self._rollout:
            self.phase = f"{found.state.phase}/{found.state.step}"

    def listen(self) -> None:
        """To Python's audit events of this process, for as long as it lives."""
        sys.addaudithook(self._heard)

    def _heard(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _FILES:
            path = str(args[1] if event == "os.rename" else args[0])
            if path.startswith(self._home):
                self.reached(f"{event.split('.')[1]} {self._named(path)}")
        elif event == "open":
            path, mode = str(args[0]), str(args[1] or "")
            if any(letter in mode for letter in "wax+") and path.startswith(self._home):
                self.reached(f"write {self._named(path)}")
        elif event in _STARTS:
            self.reached(f"start {Path(str(args[0])).name}")

    def _named(self, path: str) -> str:
        """Without what differs from run to run."""
        return _NUMBERS.sub("N", path.removeprefix(self._home).strip("/"))


def _first(arm: dict[str, Any]) -> bool:
    """Another driver waits for it too while this one is frozen: whoever is there first strikes, and nobody else."""
    try:
        os.close(os.open(arm["once"], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True
