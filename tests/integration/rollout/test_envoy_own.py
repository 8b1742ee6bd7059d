"""Whose address it is, is asked when nobody else can change anything any more."""

from __future__ import annotations

import fcntl
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterRefused
from lockgate.rollout.spec import Traffic


def guarded(plane: Any, key: str) -> EnvoyRouter:
    """The router of the same Envoy, where the shop has this key."""
    clients = {"clients": {"keys": {"shop": key}}}
    traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | clients)
    return EnvoyRouter(plane.router.at.path, traffic)


def taken(plane: Any, *keys: str) -> list[int]:
    """What becomes of requests with each of the keys."""
    url = f"http://{plane.traffic.listen}/predict"
    headers = [{"authorization": key} for key in keys]
    return [httpx.post(url, content=b"[]", headers=one, trust_env=False, timeout=30).status_code for one in headers]


OLD, NEW = "key-of-the-shop-of-today", "key-of-the-shop-of-tomorrow"


@pytest.mark.parametrize("verb", ["start", "renew"])
def test_it_is_asked_alone_and_its_word_counts(plane: Any, verb: str) -> None:
    guarded(plane, NEW).start(plane.routes())
    older = guarded(plane, OLD)
    asked: list[bool] = []

    def own() -> bool:
        with plane.router.at.lock.open("w") as lock, pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        asked.append(bool(asked))
        return asked[-1]

    def say() -> None:
        older.start(plane.routes(), own) if verb == "start" else older.renew(own)

    say()
    assert taken(plane, NEW, OLD) == [200, 401]
    say()
    assert taken(plane, NEW, OLD) == [401, 200]
    assert asked == [False, True]


def test_files_of_who_has_no_say_are_not_looked_at(plane: Any) -> None:
    """The certificate that a rollout was opened with may be gone when a later `lockgate up` has named another one."""
    tls = {"tls": {"certificate": "/nowhere/server.crt", "key": "/nowhere/server.key"}}
    older = EnvoyRouter(plane.router.at.path, Traffic.model_validate(plane.traffic.model_dump(mode="json") | tls))
    older.start(plane.routes(), lambda: False)
    with pytest.raises(RouterRefused, match=r"there is no file /nowhere/server"):
        older.start(plane.routes())
    assert taken(plane, NEW) == [200]
