"""Databases that an audit is kept in: SQLite, and a PostgreSQL of our own where there is one."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

_NUMBERS = count(1)


def _program(name: str) -> Path | None:
    found = shutil.which(name)
    places = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return Path(found) if found else next(iter(places), None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    initdb, postgres = _program("initdb"), _program("postgres")
    if initdb is None or postgres is None:
        pytest.skip("PostgreSQL is not installed")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name  # it refuses to run as root
    as_user = {"user": user} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="lockgate-pg-"))
    shutil.chown(folder, user)
    try:
        made = [initdb, "-D", folder / "data", "-U", "lockgate", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run([*made, "--locale=C"], check=True, capture_output=True, cwd=folder, **as_user)
        run = [postgres, "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(run, stdout=log, stderr=log, cwd=folder, start_new_session=True, **as_user)
        try:
            url = f"postgresql+psycopg://lockgate@/%s?host={folder}"
            _until_it_answers(url % "postgres", server)
            yield url
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)
    finally:
        shutil.rmtree(folder)


def _until_it_answers(url: str, server: subprocess.Popen[bytes]) -> None:
    engine = create_engine(url)
    deadline = time.monotonic() + 60
    while True:
        try:
            with engine.connect():
                break
        except OperationalError:
            assert server.poll() is None
            assert time.monotonic() < deadline
    engine.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of an empty database, once of each kind; PostgreSQL's as a person writes it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/audit.db"
    server, name = str(request.getfixturevalue("postgres_server")), f"audit{next(_NUMBERS)}"
    engine = create_engine(server % "postgres")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as db:
        db.execute(text(f"create database {name}"))
    engine.dispose()
    return (server % name).replace("postgresql+psycopg:", "postgresql:")
