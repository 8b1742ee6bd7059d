"""What several commands take."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:  # loading SQLAlchemy costs what `--help` has no use for
    from lockgate.rollout.store import Rollout, Store

spec_file = click.argument("file", type=click.Path(path_type=Path, dir_okay=False), default="lockgate.yaml")
as_json = click.option("--json", "json_", is_flag=True, help="Print JSON.")
which = click.argument("rollout", metavar="ROLLOUT|NAME")


def comment(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--comment", "-m", default="", help="Why; kept in the history.")(command)


def print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, default=str))


@contextmanager
def the_store() -> Iterator[Store]:
    from lockgate.flows.home import home
    from lockgate.rollout.store import opened

    with opened(home().store_url) as store:
        yield store


def named(store: Store, name: str) -> Rollout:
    """The rollout with this id, or the open one, or the last one, of the spec with this name."""
    from lockgate.rollout.errors import NoRollout

    of_name = store.rollouts(name)
    if of_name:
        return next((r for r in of_name if r.closed_at is None), of_name[0])
    try:
        return store.rollout(name)
    except NoRollout:
        known = sorted({r.model for r in store.rollouts()})
        hint = f"; there are rollouts of {', '.join(known)}" if known else ", nor any other: `lockgate run` opens one"
        raise NoRollout(f"there is no rollout or spec named {name}{hint}") from None
