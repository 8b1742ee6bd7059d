"""All sides of one model, started one after the other and frozen: only one server at a time has work."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import environments, ours
from .environments import Skipped
from .peers import PEERS, Place
from .side import Examples, Side, started


@dataclass
class Stage:
    """`place`: a folder for what peers write. `skipped`: by title, what cannot be had and why."""

    project: ours.Project
    examples: Examples
    envs: Path
    form: str
    place: Path
    say: Callable[[str], None]
    skipped: dict[str, str] = field(default_factory=dict)

    def start(self, peers: Sequence[str], stack: ExitStack) -> list[Side]:
        """Every side has answered every example rightly. They end with the stack. Raises `Skipped` for our own."""
        sides = stack.enter_context(ours.up(self.project, self.form, self.examples, (free_port(), free_port())))
        for side in sides:
            side.check(self.examples)
        for side in sides:
            side.freeze()
        for name in peers:
            try:
                with ExitStack() as own:  # one that answers wrongly is ended at once
                    side = own.enter_context(self._peer(name))
                    side.check(self.examples)
                    stack.enter_context(own.pop_all())
            except (Skipped, RuntimeError, OSError) as why:
                self.skipped[PEERS[name].title] = str(why)
                self.say(f"{name} is skipped: {why}")
                continue
            self.say(f"{name}: right {side.started:.1f} s after its second start")
            side.freeze()
            sides.append(side)
        return sides

    @contextmanager
    def _peer(self, name: str) -> Iterator[Side]:
        """At its second start: ours has been up before too, and a first one also reads and compiles its files."""
        peer = PEERS[name]
        programs = Path(sys.executable).parent
        if peer.environment:
            programs = environments.made(self.envs, peer.environment, self.say)
        work = self.place / name
        work.mkdir()
        with started(name, peer, self._place(programs, work), self.examples) as first:
            self.say(f"{name}: right {first.started:.1f} s after its first start")
        with started(name, peer, self._place(programs, work), self.examples) as side:
            yield side

    def _place(self, programs: Path, work: Path) -> Place:
        ports = (free_port(), free_port(), free_port())
        return Place(programs, work, self.project.at, ports, self.form, tuple(self.examples.inputs))


def free_port() -> int:
    """The kernel gives out one after the other, so a few of them differ."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
