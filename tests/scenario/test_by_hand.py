"""A person's word: pause, resume, promote, abort, and what the commands print."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

pytestmark = [pytest.mark.scenario, pytest.mark.timeout(200)]

OLD, NEW = "key-of-the-shop-of-today", "key-of-the-shop-of-tomorrow"
WAITS = [{"canary": {"weight": 30, "hold": {"min_requests": 100_000}, "timeout": "1h"}}]


def guard(workshop: Any) -> Callable[[str], int]:
    """The address is behind a certificate and a key of one client from now on. What asks there: the status."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl to make a certificate")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "server.key"]
    subprocess.run([*command, "-out", "server.crt"], check=True, capture_output=True, cwd=workshop.root)
    traffic = workshop.spec["rollout"]["traffic"]
    traffic |= {"tls": {"certificate": "server.crt", "key": "server.key"}, "clients": {"keys": {"shop": "${SHOP_KEY}"}}}
    workshop.write(steps=WAITS)
    workshop.env["SHOP_KEY"] = OLD
    known = ssl.create_default_context(cafile=workshop.root / "server.crt")

    def ask(key: str) -> int:
        headers = {"authorization": f"Bearer {key}"} if key else {}
        row = {"inputs": [[0, 0, 0, 0]]}
        url = workshop.url.replace("http:", "https:")
        return httpx.post(url, json=row, headers=headers, verify=known, timeout=15).status_code

    return ask


def leased(workshop: Any) -> float:
    """Until when the rollout is driven: each tick says it anew."""
    with workshop._state() as db:
        return float(db.execute("select max(until) from lockgate_leases").fetchone()[0])


def holding(workshop: Any, secret: str) -> set[str]:
    """The files of a pipeline, and of what it says of itself, in which a secret stands."""
    files = [path for path in (workshop.root / "home" / "toy").rglob("*") if path.is_file()]
    files += [path for path in workshop.root.iterdir() if path.is_file()]
    return {str(path.relative_to(workshop.root)) for path in files if secret.encode() in path.read_bytes()}


def test_pause_resume_and_promote(workshop: Any) -> None:
    workshop.write(steps=WAITS)
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    assert "recorded" in workshop.cli("pause", "toy", "-m", "lunch").stdout
    assert workshop.status()["paused"]
    assert workshop.cli("resume", "toy").returncode == 0
    assert not workshop.status()["paused"]
    assert workshop.cli("promote", "toy", "--comment", "I looked").returncode == 0
    assert driver.wait(60) == 0
    said = [(e["what"], e.get("comment")) for e in workshop.events()]
    assert ("pause", "lunch") in said
    assert ("promote", "I looked") in said
    assert workshop.aliases()["champion"] == 2
    again = workshop.cli("promote", "toy")
    assert again.returncode == 2
    assert "succeeded" in again.stderr


def test_abort(workshop: Any) -> None:
    """Behind HTTPS and a key that changes meanwhile."""
    ask = guard(workshop)
    key = (workshop.root / "server.key").rename(workshop.root / "elsewhere.key")
    refused = workshop.cli("run")
    assert refused.returncode
    assert "rollout.traffic.tls.key: there is no file" in refused.stderr
    assert workshop.status() == {}  # nothing was begun
    key.rename(workshop.root / "server.key")
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    assert [ask(key) for key in (OLD, NEW, "")] == [200, 401, 401]
    workshop.env["SHOP_KEY"] = NEW
    up = workshop.cli("up")
    assert f"https://127.0.0.1:{workshop.port}/predict" in up.stdout, up.stderr
    ticked = leased(workshop)
    workshop.until("the driver, which knows the old key, has ticked", lambda: leased(workshop) > ticked + 2)
    assert [ask(key) for key in (OLD, NEW)] == [401, 200]
    said = "".join(workshop.cli(*words).stdout for words in (["status"], ["history", "toy"], ["status", "--json"]))
    assert "key-of-the-shop" not in said
    for key in (OLD, NEW):
        assert holding(workshop, key) <= {f"home/toy/router/{folder}/rds.json" for folder in ("xds", "good")}
    assert workshop.cli("abort", "toy").returncode == 0
    assert driver.wait(60) == 10
    assert workshop.aliases()["champion"] == 1
    assert workshop.status()["phase"] == "rolled_back"
    assert "rolled back" in workshop.cli("status").stdout
    assert "abort" in workshop.cli("history", "toy").stdout


def test_abort_while_it_is_built(workshop: Any) -> None:
    driver = workshop.start("run")
    workshop.until("it is being built", lambda: workshop.reached("building/0"), 60)
    assert workshop.cli("abort", "toy").returncode == 0
    assert driver.wait(120) == 10
    assert workshop.status()["phase"] == "failed"
    assert workshop.status()["closed_at"]
    assert {r["version"] for r in workshop.replicas()} <= {"1"}


def test_another_spec_while_a_rollout_is_open(workshop: Any) -> None:
    workshop.write(steps=WAITS)
    driver = workshop.start("run")
    workshop.until("the canary runs", lambda: workshop.reached("progressing/0"), 90)
    workshop.write(profile="strict")
    done = workshop.cli("run")
    assert done.returncode == 13
    assert "another version of the spec" in done.stderr
    down = workshop.cli("down")
    assert down.returncode == 13
    assert "driven by" in down.stderr
    workshop.cli("abort", "toy")
    assert driver.wait(60) == 10


def test_reading_commands_speak_json(workshop: Any) -> None:
    planned = json.loads(workshop.cli("plan", "--json").stdout)
    assert (planned["stable"]["version"], planned["candidate"]["version"]) == ("1", "2")
    assert json.loads(workshop.cli("status", "--json").stdout) == []
    assert {c["part"] for c in json.loads(workshop.cli("doctor", "--json").stdout)} >= {"envoy", "mlflow", "registry"}
    unknown = workshop.cli("status", "nobody")
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr
