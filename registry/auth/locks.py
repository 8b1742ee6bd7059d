"""One request at a time changes what the rules look at: across threads and across the server's workers.

MLflow has no compare-and-set: without this, two approvers in the same millisecond would each not see the other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from sqlalchemy import Engine, NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from lockgate.registry.auth.errors import Busy

PATIENCE = 20.0
"""Seconds that a request waits for the one before it."""

Lock = Callable[[str], AbstractContextManager[None]]
"""`with lock(model):`; raises `Busy`."""


def lock_of(engine: Engine, patience: float = PATIENCE) -> Lock:
    """Files beside a SQLite database, since only this machine has that; advisory locks of a PostgreSQL one."""
    if engine.dialect.name == "sqlite":
        folder = Path(f"{engine.url.database}.locks")
        folder.mkdir(exist_ok=True)
        return lambda model: _file(folder, model, patience)
    plain = create_engine(engine.url, poolclass=NullPool)  # held as long as the request: it must take none from others
    return lambda model: _advisory(plain, model, patience)


@contextmanager
def _file(folder: Path, model: str, patience: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    path = folder / f"{_digest(model).hex()[:2]}.lock"  # 256 files at most, whatever the models are called
    try:
        with FileLock(path, timeout=patience, thread_local=False, is_singleton=False):
            yield
    except Timeout as error:
        raise _busy(model) from error


@contextmanager
def _advisory(engine: Engine, model: str, patience: float) -> Iterator[None]:
    number = int.from_bytes(_digest(model)[:8], signed=True)
    with engine.connect() as db:
        db.execute(text("SELECT set_config('lock_timeout', :most, false)"), {"most": f"{patience * 1000:.0f}ms"})
        try:
            db.execute(text("SELECT pg_advisory_lock(:number)"), {"number": number})
        except OperationalError as error:
            raise _busy(model) from error
        db.commit()  # or an idle transaction would stand open; the session goes on holding the lock
        yield  # closing the connection, which no pool keeps, gives the lock back


def _digest(model: str) -> bytes:
    return hashlib.sha256(model.encode()).digest()


def _busy(model: str) -> Busy:
    return Busy(f"somebody else is changing {model} at the moment; try again")
