"""What a person sees while a rollout is driven: a live view on a terminal, a line per change anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from lockgate.flows import report, view
from lockgate.rollout.progress import Progress
from lockgate.rollout.store import Event, Rollout, Store


class Terminal:
    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=False, highlight=False)
        self._live: Live | None = None
        self._told = 1  # that it was opened is said when it is

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        self._console.print(f"[dim]{view.clock(time.time())}[/dim] {text}", soft_wrap=True)

    def follow(self, store: Store, rollout: Rollout) -> Follow:
        return Follow(self, store, rollout)

    def show(self, store: Store, rollout: Rollout, event: Event) -> None:
        if event.sequence > self._told:
            for missed in store.events(rollout.id):
                if missed.sequence > self._told:
                    self.say(sentence(rollout, missed))
            self._told = event.sequence
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False)
                self._live.start()
            self._live.update(view.rollout(report.status(store, rollout)), refresh=True)


class Follow:
    """A `Watcher` for one rollout."""

    def __init__(self, terminal: Terminal, store: Store, rollout: Rollout) -> None:
        self._terminal, self._store, self._rollout = terminal, store, rollout

    def __call__(self, event: Event, progress: Progress | None) -> None:  # noqa: ARG002 - it shows the store's
        self._terminal.show(self._store, self._rollout, event)


def sentence(rollout: Rollout, event: Event) -> str:
    """One line: what happened and where the rollout is now; the reasons stand below, one to a line."""
    line = report.line(rollout.spec, event)
    where = line["phase"].replace("_", " ")
    if line["phase"] == "progressing":
        where += f", {line['step']}"
    verdict = line.get("verdict", {}).get("outcome")
    what = f"verdict {verdict}" if verdict else line["what"]
    whys = [why for why in line["reason"].split("; ") if why]
    return "\n".join([f"{what} → {where}", *(f"         [dim]{why}[/dim]" for why in whys)])
