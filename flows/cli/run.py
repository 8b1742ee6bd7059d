"""`lockgate run`: the main job."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from lockgate.flows.cli.options import spec_file


@click.command(short_help="Roll the candidate out, or resume the open rollout, to its end.")
@spec_file
def command(file: Path) -> None:
    """Roll the candidate out, or resume the open rollout, to its end.

    Resolves stable and candidate, compiles and packages the candidate, proves that the compiled outputs equal the
    source model's, serves both sides and drives the steps. Traffic goes on when this command ends or is killed;
    running it again resumes the same rollout where it was.
    """
    from lockgate.flows.drive import drive
    from lockgate.flows.ending import take_up
    from lockgate.flows.errors import NothingToDo
    from lockgate.flows.exits import code_of_end
    from lockgate.flows.lease import owner
    from lockgate.flows.notify.notifier import Notifier
    from lockgate.flows.release import release
    from lockgate.flows.spec import load
    from lockgate.flows.watch import Terminal
    from lockgate.flows.world import world

    began = time.time()
    with world(load(file)) as it, Terminal() as terminal, Notifier(it.store, it.spec) as notifier:
        me = owner()
        try:
            rollout = release(it, me, terminal.say, asked=began)
            take_up(it, rollout, began)
            state = drive(it, rollout, me, notifier.beside(terminal.follow(it.store, rollout)))
        except NothingToDo as nothing:
            terminal.say(str(nothing))
            return
        except KeyboardInterrupt:
            terminal.say("stopped watching. Traffic stays as it is and nobody judges it: `lockgate run` resumes")
            sys.exit(130)
        terminal.say(f"{rollout.id}: {state.phase.replace('_', ' ')}, {state.reason}")
        code = code_of_end(state)
    sys.exit(code)
