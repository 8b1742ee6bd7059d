"""Takes feedback in, on a unix socket: `python -m lockgate.monitoring.feedback.server FOLDER SOCKET`.

It lives on when the controller dies, like Envoy and the replicas. One runs for each folder.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from lockgate.monitoring.feedback.app import Intake, app
from lockgate.monitoring.feedback.errors import FeedbackError
from lockgate.monitoring.feedback.settings import FILE as SETTINGS
from lockgate.monitoring.feedback.settings import Watched
from lockgate.monitoring.feedback.store import FILE as DATABASE
from lockgate.monitoring.feedback.store import Reader, Store
from lockgate.monitoring.feedback.writer import Writer

LOCK = "server.lock"
_GRACE = 2
"""Seconds for what is being answered when the server is told to end."""
_IDLE = 4000
"""Seconds that a connection may be idle: longer than Envoy keeps one, or it would send into one that just closes."""

log = logging.getLogger("lockgate.feedback")


class AlreadyRuns(FeedbackError):
    """Another server has the folder."""


def main(arguments: Sequence[str]) -> int:
    """0 when it was told to end, and where another one serves the folder already; 1 when it cannot serve; 2 usage."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    log.setLevel(logging.INFO)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of every request that is no HTTP
    if len(arguments) != 2:
        log.error("usage: python -m lockgate.monitoring.feedback.server FOLDER SOCKET")
        return 2
    folder, path = (Path(argument) for argument in arguments)
    try:
        with _alone(folder), _listening(path) as listener:
            _serve(folder, listener)
    except AlreadyRuns as reason:
        log.info("%s", reason)
    except (FeedbackError, OSError) as reason:
        log.error("%s", reason)  # noqa: TRY400 - a sentence, no bug
        return 1
    return 0


def _serve(folder: Path, listener: socket.socket) -> None:
    watched = Watched(folder / SETTINGS)

    def keep() -> float | None:
        settings = watched.now()
        return settings.keep if settings else None

    def max_size() -> int | None:
        settings = watched.now()
        return settings.max_size if settings else None

    with Writer(Store(folder / DATABASE), keep, max_size) as writer:
        server = uvicorn.Server(
            uvicorn.Config(
                app(Intake(watched, writer, Reader(folder / DATABASE))),
                log_config=None,
                access_log=False,
                lifespan="off",
                server_header=False,
                timeout_keep_alive=_IDLE,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        _end_by_signal(server)
        log.info("feedback is taken for %s", folder)
        server.run([listener])


def _end_by_signal(server: uvicorn.Server) -> None:
    """Also before uvicorn listens to signals, and when it raises the one that ended it once more."""

    def end(*_: Any) -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Raises `AlreadyRuns`. The lock ends with the process, however that ends."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as reason:
            raise AlreadyRuns(f"a feedback server runs for {folder} already; this one ends") from reason
        yield
    finally:
        os.close(handle)


@contextmanager
def _listening(path: Path) -> Iterator[socket.socket]:
    """A socket for its owner only. One that a killed server left behind is replaced."""
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise FeedbackError(f"{path} is a file and no socket; name another one")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    mask = os.umask(0o177)
    try:
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen(1024)
        yield listener
    except OSError as reason:
        said = (reason.strerror or str(reason)).lower()
        raise FeedbackError(f"{path} cannot be listened on ({said}); name a shorter path or see its folder") from reason
    finally:
        listener.close()
        path.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
