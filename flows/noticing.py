"""New challengers are noticed within seconds, beside the sweeps: those come on schedule, and each is a process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from lockgate.flows.beside import beside

_LOG = logging.getLogger("lockgate.pipeline")
EVERY = 2.0
"""Seconds between two looks: each reads every spec, its open rollout and its aliases; about 10 ms of CPU a spec."""
Notice = Callable[[list[str], dict[str, str]], object]
"""Looks at the specs and starts what is new; it is given back what it remembered of each spec."""


@contextmanager
def noticing(specs: Sequence[str], notice: Notice) -> Iterator[None]:
    """While the `with` lasts."""
    with beside(partial(look, list(specs), notice), "challengers"):
        yield


def look(specs: list[str], notice: Notice, stop: threading.Event, every: float = EVERY) -> None:
    """Until `stop` is set. What fails is said once, and tried again: the sweep would find it, too."""
    told, tried = "", dict[str, str]()
    while not stop.wait(every):
        try:
            notice(specs, tried)
            told = ""
        except Exception as error:  # noqa: BLE001 - whatever Prefect's API does, the next look comes
            if (why := str(error) or type(error).__name__) != told:
                _LOG.warning("a new challenger waits for the next sweep: %s", why)
            told = why
