"""Reads one request from ASGI: its head in one pass, its body within limits of size and time."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from .fields import Array
from .refusals import BadRequest

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

LONGEST_ID, LONGEST_UNIT = 128, 1024


class ClientGone(Exception):
    pass


@dataclass(slots=True)
class Head:
    """`id` is the caller's `x-request-id`, or one of ours. What comes after `unit` is filled by `Capture`."""

    content_type: str = ""
    accept: bytes = b""
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
    found = Head()
    users: list[bytes] = []
    for key, value in scope["headers"]:
        if key == b"content-type":
            found.content_type = value.decode("latin-1")
        elif key == b"accept":
            found.accept = value
        elif key == b"x-request-id":
            found.id = value if len(value) <= LONGEST_ID else _short(value, LONGEST_ID)
        elif key == b"content-length" and value.isdigit():
            found.length = int(value)
        elif key == b"x-lockgate-variant":
            found.variant = value[:LONGEST_ID]
        elif key == b"x-lockgate-shadow":
            found.shadow = value
        if key == sticky:  # which may be one of those above
            users.append(value)
    found.id = found.id or uuid.uuid4().hex.encode()
    if users:
        found.unit = _unit(users, found.id)
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


async def body(receive: Receive, length: int, most: int, seconds: float) -> bytes:
    """The whole body; raises `BadRequest` (413, 408) and `ClientGone`."""
    if length > most:
        raise _too_large(most)
    message = await _next(receive)
    if not message.get("more_body"):
        return _checked(message.get("body", b""), most)
    parts = [message.get("body", b"")]
    size = len(parts[0])
    try:
        async with asyncio.timeout(seconds):
            while message.get("more_body"):
                message = await _next(receive)
                parts.append(message.get("body", b""))
                size += len(parts[-1])
                if size > most:
                    raise _too_large(most)
    except TimeoutError:
        raise BadRequest(f"the body did not arrive within {seconds:g} s", 408) from None
    return b"".join(parts)


async def _next(receive: Receive) -> Message:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    return message


def _checked(whole: bytes, most: int) -> bytes:
    if len(whole) > most:
        raise _too_large(most)
    return whole


def _too_large(most: int) -> BadRequest:
    return BadRequest(f"the body is larger than {most} bytes; send fewer rows in one request", 413)
