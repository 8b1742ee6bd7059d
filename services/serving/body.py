"""Reads one request from ASGI: its head in one pass, its body within limits of size and time."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fields import Array
from .refusals import BadRequest, Overloaded

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_ID, LONGEST_UNIT = 128, 1024
_PLAIN = ((b"accept", "accept"), (b"content-encoding", "encoding"), (b"x-lockgate-shadow", "shadow"))
AT_ONCE = 8
"""Bodies of the largest size that may be half there."""
LINGER = 5.0


class ClientGone(Exception):
    pass


@dataclass(slots=True)
class Head:
    """`id` is the caller's `x-request-id`, or one of ours. What comes after `unit` is filled by `Capture`."""

    content_type: str = ""
    accept: bytes = b""
    encoding: bytes = b""
    id: bytes = b""
    length: int = 0
    variant: bytes = b""
    shadow: bytes = b""
    unit: bytes = b""
    rows: int = 0
    fits: bool = True
    inputs: Any = None
    outputs: dict[str, Array] | None = None


def head(scope: Scope, sticky: bytes = b"") -> Head:
    """`sticky`: the header, in lower case, whose value is the request's `unit`; all values, where there are several."""
    headers = scope["headers"]
    given = dict(headers)  # of what is there twice, the last
    found = Head()
    for key, name in _PLAIN:
        if key in given:
            setattr(found, name, given[key])
    if kind := given.get(b"content-type"):
        found.content_type = kind.decode("latin-1")
    length = given.get(b"content-length", b"")
    if length.isdigit():
        found.length = int(length)
    known = given.get(b"x-request-id") or os.urandom(16).hex().encode()
    found.id = known if len(known) <= LONGEST_ID else _short(known, LONGEST_ID)
    if b"x-lockgate-variant" in given:
        found.variant = given[b"x-lockgate-variant"][:LONGEST_ID]
    if sticky in given:  # which may be one of those above
        found.unit = _unit([value for key, value in headers if key == sticky], found.id)
    return found


def _unit(users: Sequence[bytes], request: bytes) -> bytes:
    """Who always gets the same variant: a unit must not be the same where the router may see another user.

    Of several values the router hashes all, in the order of the alphabet; where they are empty, the request's id.
    """
    value = users[0] if len(users) == 1 else b"\0".join([*sorted(users), *([] if all(users) else [request])])
    return value if len(value) <= LONGEST_UNIT else _short(value, LONGEST_UNIT)


def _short(value: bytes, longest: int) -> bytes:
    """Its start, and a digest of all of it: what begins alike is not the same."""
    digest = hashlib.blake2b(value, digest_size=16).hexdigest().encode()
    return value[: longest - len(digest)] + digest


class Bodies:
    """Reads bodies of at most `most` bytes, each within `seconds`. What arrives at one time has a limit too."""

    def __init__(self, most: int, seconds: float) -> None:
        self._most, self._seconds = most, seconds
        self._arriving = 0

    async def read(self, receive: Receive, length: int) -> bytes:
        """The whole body; raises `BadRequest` (413, 408), `Overloaded` and `ClientGone`."""
        if length > self._most:
            raise _too_large(self._most)
        try:
            async with asyncio.timeout(self._seconds):  # from the start: a client may send its head and nothing more
                message = await _next(receive)
                if message.get("more_body"):
                    return await self._parts(receive, message.get("body", b""))
        except TimeoutError:
            raise BadRequest(f"the body did not arrive within {self._seconds:g} s", 408, unread=True) from None
        whole: bytes = message.get("body", b"")
        if len(whole) > self._most:
            raise _too_large(self._most)
        return whole

    async def _parts(self, receive: Receive, first: bytes) -> bytes:
        whole, came, more = bytearray(), first, True  # as one: parts of a few bytes take ten times their length
        size = 0
        try:
            while True:
                whole += came
                size += len(came)
                self._arriving += len(came)
                if size > self._most:
                    raise _too_large(self._most)
                if self._arriving > AT_ONCE * self._most:
                    raise Overloaded("too many large bodies arrive at once; send the request again later", unread=True)
                if not more:
                    return bytes(whole)
                message = await _next(receive)
                came = message.get("body", b"")
                more = message.get("more_body", False)
        finally:
            self._arriving -= size


async def drain(receive: Receive) -> None:
    """Read on for a while after the answer: a connection that is closed on unread bytes takes the answer with it."""
    with contextlib.suppress(TimeoutError, ClientGone):
        async with asyncio.timeout(LINGER):
            while (await _next(receive)).get("more_body"):
                pass


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _too_large(most: int) -> BadRequest:
    return BadRequest(f"the body is larger than {most} bytes; send fewer rows in one request", 413, unread=True)
