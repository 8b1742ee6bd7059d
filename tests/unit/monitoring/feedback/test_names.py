"""Users and requests have the names that the captured traffic gives them."""

from __future__ import annotations

import pytest

from lockgate.monitoring.feedback.names import once, request_id, unit
from lockgate.services.serving.body import head
from lockgate.services.serving.capture_forms import digest

KEY = bytes(range(32))


@pytest.mark.parametrize("user", ["u1", "17", "müller@example.com", "x" * 1024, "x" * 2000, "日本" * 600, "a b"])
def test_a_user_is_the_captured_unit(user: str) -> None:
    captured = head({"headers": [(b"x-user-id", user.encode())]}, b"x-user-id").unit
    assert unit(user, KEY) == unit(user.encode(), KEY) == digest(captured, KEY).decode()


@pytest.mark.parametrize("request_of", ["r1", "x" * 128, "x" * 200, "grün", "日本" * 60])
def test_a_request_is_the_captured_one(request_of: str) -> None:
    captured = head({"headers": [(b"x-request-id", request_of.encode())]}).id
    assert request_id(request_of) == captured.decode("latin-1")


def test_what_begins_alike_is_not_the_same() -> None:
    """The router hashes all of it, so it may be two users, with two variants."""
    assert unit("x" * 2000, KEY) != unit("x" * 1999 + "y", KEY)
    assert request_id("x" * 200) != request_id("x" * 199 + "y")
    assert len(request_id("x" * 200)) == 128


def test_several_values_are_a_user_of_their_own() -> None:
    def captured(*users: bytes, of: bytes = b"r") -> bytes:
        return head({"headers": [(b"x-request-id", of), *((b"x-user-id", user) for user in users)]}, b"x-user-id").unit

    assert captured(b"u1", b"u2") == captured(b"u2", b"u1") == captured(b"u1", b"u2", of=b"s")
    assert len({captured(b"u1"), captured(b"u2"), captured(b"u1", b"u2"), captured(b"u2", b"u3")}) == 4
    assert captured(b"", b"") != captured(b"", b"", of=b"s")
    assert captured(b"") == b""


def test_another_key_is_another_user() -> None:
    assert unit("u1", KEY) != unit("u1", b"other")
    assert once("a", "u1", KEY) != once("a", "u1", b"other")
    assert once("a", "b", KEY) != once("ab", "", KEY)
