"""Something that goes on in a thread of its own beside what else a process does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOG = logging.getLogger("lockgate.supervise")
_ENDS_WITHIN = 10.0
"""Seconds that are waited for its end: what hangs must not keep a process from ending."""


@contextmanager
def beside(run: Callable[[threading.Event], object], name: str, within: float = _ENDS_WITHIN) -> Iterator[None]:
    """While the `with` lasts: `run` ends soon after the event that it is given is set."""
    stop = threading.Event()
    thread = threading.Thread(target=run, args=(stop,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(within)
        if thread.is_alive():  # a daemon: it ends with this process
            _LOG.warning("%s did not end within %g s and is left behind", name, within)
