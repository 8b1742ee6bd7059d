"""A request whose rows wait for the engine: until they are answered, its time is over, or its client left."""

from __future__ import annotations

import asyncio

from .body import ClientGone, Receive
from .refusals import TooSlow
from .schema import Arrays


async def answered(waiting: asyncio.Future[Arrays], seconds: float, receive: Receive | None) -> Arrays:
    """Raises `TooSlow`, `ClientGone`, or what the engine raises. In the first two its rows need not be computed."""
    loop = waiting.get_loop()
    late = loop.call_later(seconds, _too_late, waiting, seconds)
    watch = loop.create_task(_gone(receive, waiting)) if receive else None
    try:
        return await waiting
    except asyncio.CancelledError:
        if watch and watch.done() and not watch.cancelled():
            raise ClientGone from None
        raise
    finally:
        late.cancel()
        if watch:
            watch.cancel()


def _too_late(waiting: asyncio.Future[Arrays], seconds: float) -> None:
    """Its rows are not computed, where they still wait."""
    if not waiting.done():
        waiting.set_exception(TooSlow(f"no answer within {seconds:g} s"))


async def _gone(receive: Receive, waiting: asyncio.Future[Arrays]) -> None:
    """After its body, all that a client can say is that it left; then its rows are not computed."""
    while (await receive())["type"] != "http.disconnect":
        pass
    waiting.cancel()
