"""Users and requests as the captured traffic names them, so that what they did can be joined with it."""

from __future__ import annotations

import hashlib

_LONGEST_ID, _LONGEST_UNIT = 128, 1024
"""Bytes of the headers that the capture keeps."""


def unit(user: str | bytes, key: bytes) -> str:
    """The hash of a user, as the capture makes it of the sticky header's value. HTTP drops the spaces around that."""
    value = user.encode("utf-8", "surrogatepass") if isinstance(user, str) else user
    return hashlib.blake2b(_short(value.strip(b" \t"), _LONGEST_UNIT), key=key, digest_size=8).hexdigest()


def request_id(value: str) -> str:
    """The header `x-request-id` as the capture reads it."""
    return _short(value.encode("utf-8", "surrogatepass").strip(b" \t"), _LONGEST_ID).decode("latin-1")


def is_request_id(value: object) -> bool:
    """Whether it can be one."""
    return isinstance(value, str) and bool(value.strip()) and value.isprintable()


def once(metric: str, what: str, key: bytes) -> str:
    """The `key` of a row: the same for the same metric and text, which cannot be read from it."""
    value = f"{metric}\0{what}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(value, key=key, digest_size=16).hexdigest()


def _short(value: bytes, longest: int) -> bytes:
    """Of a longer one, its start and a digest of all of it, as the capture has it."""
    if len(value) <= longest:
        return value
    digest = hashlib.blake2b(value, digest_size=16).hexdigest().encode()
    return value[: longest - len(digest)] + digest
