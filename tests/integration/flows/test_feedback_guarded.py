"""The feedback client at an address with a certificate, keys and limits."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lockgate.monitoring.feedback import client as clients
from lockgate.monitoring.feedback.client import Feedback
from lockgate.monitoring.feedback.errors import Refused, Unavailable

KEY = "key-of-shopshopshop"


@pytest.fixture
def certificate(pipeline: Any, tmp_path: Path) -> Path:
    """The pipeline is up behind it."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl to make a certificate")
    made, key = tmp_path / "server.crt", tmp_path / "server.key"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=x", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    pipeline.document["rollout"]["traffic"] |= {
        "tls": {"certificate": str(made), "key": str(key)},
        "clients": {"header": "x-api-key", "keys": {"shop": KEY}},
        "limits": {"requests": 1, "per": "1s", "each": "client"},
    }
    pipeline.up()
    return made


def test_with_a_key_it_arrives_however_fast_it_is_sent(
    pipeline: Any, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    sleep = clients.sleep
    monkeypatch.setattr(clients, "sleep", lambda seconds: (waited.append(seconds), sleep(seconds)))
    url = pipeline.spec.rollout.traffic.url
    with Feedback(url, key=("x-api-key", KEY), verify=certificate) as feedback:
        assert [feedback.send("conversion", 1, user=f"u{i}").accepted for i in range(2)] == [1, 1]
    assert len(pipeline.kept()) == 2
    assert waited
    assert min(waited) > 1  # as Retry-After says, and a little more


@pytest.mark.parametrize("key", ["", KEY, ("x-api-key", "not-a-key-of-anybody")])
def test_without_it_the_routers_sentence_is_told_at_once(pipeline: Any, certificate: Path, key: Any) -> None:
    """A text is sent as `authorization`, where nobody looks here."""
    trusted = ssl.create_default_context(cafile=certificate)
    refusal = pytest.raises(Refused, match="no key, or none that is known here")
    with Feedback(pipeline.spec.rollout.traffic.url, key=key, verify=trusted) as feedback, refusal as refused:
        feedback.send("conversion", 1, user="u")
    assert refused.value.status == 401


def test_a_plain_key_is_a_bearer_token(pipeline: Any, certificate: Path) -> None:
    pipeline.document["rollout"]["traffic"]["clients"]["header"] = "authorization"
    pipeline.up()
    with Feedback(pipeline.spec.rollout.traffic.url, key=KEY, verify=str(certificate)) as feedback:
        assert feedback.send("conversion", 1, user="u").accepted == 1


@pytest.mark.usefixtures("certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(pipeline: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "sleep", lambda _: None)
    refusal = pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED")
    with Feedback(pipeline.spec.rollout.traffic.url, key=KEY) as feedback, refusal:
        feedback.send("conversion", 1, user="u")
