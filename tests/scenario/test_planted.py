"""Secrets that were planted wherever one may be, a rollout in which everything fails that could tell them, and a look
into every file, table, process and socket that it leaves.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(300)]

MARK = "planted5ecret"
PLANTED = {
    "HOOK_URL": f"http://127.0.0.1:1/hooks/{MARK}-hook",
    "CHAT_URL": f"mmost://127.0.0.1:1/{MARK}chat",
    "WAREHOUSE_URL": f"postgresql+psycopg://bob:{MARK}-warehouse@127.0.0.1:1/shop",
    "SHOP_KEY": f"{MARK}-of-the-shop-and-long-enough-to-be-one",
    "LOCKGATE_APPROVAL_KEY": f"{MARK}-approval-key-of-more-than-32-characters",
    "LOCKGATE_WEBHOOK_SECRET": f"{MARK}-webhook-secret-of-32-characters",
    "MLFLOW_TRACKING_USERNAME": "somebody",
    "MLFLOW_TRACKING_PASSWORD": f"{MARK}-mlflow",
    "PREFECT_API_KEY": f"{MARK}-prefect",
}
ALLOWED = ("toy/router/xds/", "toy/router/good/")
"""Envoy must know its clients' keys; only this user can open these folders and files."""


@contextlib.contextmanager
def shopping(workshop: Any) -> Iterator[list[int]]:
    """Requests of a client with its key until the `with` ends; the status of each answer."""
    statuses: list[int] = []
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(headers={"authorization": f"Bearer {PLANTED['SHOP_KEY']}"}, trust_env=False) as client:
            while not stop.wait(0.01):
                user = {"x-user-id": f"user-{len(statuses) % 500}"}
                row = {"inputs": [[0.1 * (len(statuses) % 7), 0, 0, 0]]}
                statuses.append(client.post(workshop.url, json=row, headers=user).status_code)

    thread = threading.Thread(target=ask, name="shop")
    thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        thread.join()


def holding(folder: Path) -> set[str]:
    """The files below `folder` that hold what was planted."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink() and MARK.encode() in path.read_bytes()
    }


def test_nothing_that_was_planted_grows_anywhere(workshop: Any, template: Path) -> None:
    clean = dict(workshop.env)
    workshop.env |= PLANTED
    workshop.spec["rollout"]["traffic"]["clients"] = {"keys": {"shop": "${SHOP_KEY}"}}
    workshop.spec["notify"] = [{"on": ["started", "waiting"], "webhook": url} for url in ("${HOOK_URL}", "${CHAT_URL}")]
    query = "select value, at, user from buys where at >= :since"
    sql = {"url": "${WAREHOUSE_URL}", "query": query, "every": "1s", "late": "2s"}
    workshop.write(
        steps=[{"canary": {"weight": 50, "hold": {"min_requests": 50}, "timeout": "5m"}}, {"approval": {}}],
        gates={name: {"metric": "mean", "of": name} for name in ("bought", "clicked")},
        metrics={"bought": {"window": "2s", "sql": sql}, "clicked": {"window": "2s"}},
    )
    said = [workshop.cli("validate"), workshop.cli("plan"), workshop.cli("up")]
    assert [done.returncode for done in said] == [0, 0, 0], said
    with shopping(workshop) as statuses:
        run = workshop.start("run")
        workshop.until("the database is down and the gate says so", lambda: told(workshop, said), 150, every=1)
        look_at_processes(workshop)
        said += [workshop.cli("promote", "toy")]
        workshop.until("somebody is asked", lambda: (workshop.status().get("approval") or {}).get("asked"), 90, every=1)
        said += [workshop.cli(*words) for words in (["status"], ["history", "toy"], ["abort", "toy"])]
        run.wait(90)
    assert set(statuses) == {200}
    assert httpx.post(workshop.url, json={"inputs": [[0, 0, 0, 0]]}, trust_env=False).status_code == 401
    for name, address in (
        ("LOCKGATE_STATE_URL", f"postgresql+psycopg://bob:{MARK}-state@127.0.0.1:1/x"),
        ("MLFLOW_TRACKING_URI", f"http://bob:{MARK}-registry@127.0.0.1:1"),
    ):
        workshop.env = clean | PLANTED | {name: address}
        said += [workshop.cli("run")]
        assert said[-1].returncode not in {0, 1}
        assert "Traceback" not in said[-1].stderr
    workshop.env = clean | PLANTED

    assert not [done.args for done in said if MARK in done.stdout + done.stderr]
    here = holding(workshop.root)
    assert here, "Envoy knows the shop's key from nowhere?"
    assert {name for name in here if not name.startswith(tuple(f"home/{at}" for at in ALLOWED))} == set()
    for name in here:
        path = workshop.root / name
        assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700), name
    assert holding(template) == set()


def told(workshop: Any, said: list[Any]) -> bool:
    said.append(workshop.cli("status", "toy", "--json"))
    return "bought" in said[-1].stdout and '"error"' in said[-1].stdout


def look_at_processes(workshop: Any) -> None:
    """No replica, Envoy or feedback server knows a secret, and all that listens is for this machine or this user."""
    seen = set()
    for process in workshop.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            what = " ".join(process.cmdline())
            kind = next((k for k in ("bentoml", "envoy", "feedback.server") if k in what), "controller")
            seen.add(kind)
            assert MARK not in what
            if kind != "controller":
                assert MARK not in repr(process.environ()), what
            for one in process.net_connections("inet"):
                assert one.status != psutil.CONN_LISTEN or one.laddr.ip == "127.0.0.1", (what, one.laddr)
            for one in process.net_connections("unix"):
                if one.laddr.startswith("/"):
                    assert private(Path(one.laddr)), one.laddr
    assert seen == {"bentoml", "envoy", "feedback.server", "controller"}


def private(socket: Path) -> bool:
    """Whether only this user can reach it: by its own mode, or that of a folder above."""
    return not socket.stat().st_mode & 0o077 or any(not at.stat().st_mode & 0o077 for at in socket.parents)
