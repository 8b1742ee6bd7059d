"""What a person sees while a rollout is driven: a live view on a terminal, a line per change anywhere else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.status import Status
from rich.text import Text

from lockgate.flows import report, view
from lockgate.flows.approval.words import seen
from lockgate.rollout.progress import Progress
from lockgate.rollout.store import Event, Rollout, Store


class Terminal:
    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        """`quiet` leaves standard output to somebody else: lines go to standard error."""
        self._console = console or Console(highlight=False, markup=False, stderr=quiet)
        self._live: Live | None = None
        self._status: Status | None = None

    def __enter__(self) -> Self:
        return self

    def busy(self) -> Self:
        """A spinner beside the last line that was said, until something else is shown."""
        if self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._calm()
        if self._live is not None:
            self._live.stop()

    def _calm(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def say(self, text: str) -> None:
        """A line with the time before it; further lines stand below it, dimmed."""
        head, *rest = [seen(line) for line in text.splitlines()]
        line = Text.assemble((view.clock(time.time()), "dim"), " ", head)
        for more in rest:
            line.append(f"\n         {more}", style="dim")
        self._console.print(line, soft_wrap=True)
        if self._status is not None:
            self._status.update(Text(head))

    @property
    def width(self) -> int:
        return self._console.width

    def print(self, what: RenderableType) -> None:
        self._calm()
        self._console.print(what)

    def show(self, now: RenderableType) -> None:
        """Keep `now` in view below the lines. Anywhere but on a terminal, nothing is shown."""
        if not self._console.is_terminal:
            return
        if self._live is None:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        self._live.update(now, refresh=True)

    def follow(self, store: Store, rollout: Rollout) -> Follow:
        return Follow(self, store, rollout)


class Follow:
    """A `Watcher` for one rollout."""

    def __init__(self, terminal: Terminal, store: Store, rollout: Rollout) -> None:
        self._terminal, self._store, self._rollout = terminal, store, rollout
        self._told = 1  # that it was opened is said when it is

    def __call__(self, event: Event, progress: Progress | None) -> None:  # noqa: ARG002 - it shows the store's
        if event.sequence > self._told:
            for missed in self._store.events(self._rollout.id):
                if missed.sequence > self._told:
                    self._terminal.say(sentence(self._rollout, missed))
            self._told = event.sequence
        self._terminal.show(view.rollout(report.status(self._store, self._rollout)))


def sentence(rollout: Rollout, event: Event) -> str:
    """One line: what happened and where the rollout is now; then the reasons, one to a line."""
    line = report.line(rollout.spec, event)
    where = line["phase"].replace("_", " ")
    if event.state.phase.stepping:
        where += f", {line['step']}"
    what = report.headline(line)
    return "\n".join([f"{what} → {where}", *(why for why in line["reason"].split("; ") if why)])
