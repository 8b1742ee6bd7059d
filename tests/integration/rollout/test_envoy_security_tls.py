"""HTTPS: what is spoken, which files will do, and that a renewed certificate is taken up under clients' connections."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.spec import Traffic

OPENSSL = shutil.which("openssl") or ""
pytestmark = pytest.mark.skipif(not OPENSSL, reason="needs openssl to make certificates")
Make = Callable[..., dict[str, str]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Files of a new certificate for 127.0.0.1."""

    def made(name: str = "server", curve: str = "P-256", folder: Path = tmp_path) -> Any:
        folder.mkdir(exist_ok=True)
        files = {"certificate": str(folder / f"{name}.crt"), "key": str(folder / f"{name}.key")}
        command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", f"ec_paramgen_curve:{curve}", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", files["key"], "-out", files["certificate"]]
        subprocess.run(command, check=True, capture_output=True)
        return files

    return made


def changed(plane: Any, **more: Any) -> EnvoyRouter:
    """The router of the same Envoy with other `traffic`."""
    return EnvoyRouter(plane.router.at.path, Traffic.model_validate(plane.traffic.model_dump(mode="json") | more))


def secured(plane: Any, tls: dict[str, str]) -> EnvoyRouter:
    router = changed(plane, tls=tls, receive_timeout="1s")
    router.start(plane.routes())
    return router


def served(plane: Any) -> str:
    host, port = plane.traffic.listen.split(":")
    return ssl.get_server_certificate((host, int(port)), timeout=5)


def ask(plane: Any, trusted: str, **more: Any) -> httpx.Response:
    context = ssl.create_default_context(cafile=trusted)
    if own := more.pop("own", None):
        context.load_cert_chain(own["certificate"], own["key"])
    with httpx.Client(verify=context, trust_env=False, timeout=10, **more) as client:
        return client.post(f"https://{plane.traffic.listen}/predict", content=b"[]")


def test_https_is_spoken_and_http_is_not(plane: Any, make: Make) -> None:
    files = make()
    secured(plane, files)
    for http2, version in ((False, "HTTP/1.1"), (True, "HTTP/2")):
        answer = ask(plane, files["certificate"], http2=http2)
        assert (answer.http_version, answer.text) == (version, "stable 2")
    assert plane.stable.last["x-forwarded-proto"] == "https"
    with pytest.raises(httpx.TransportError):
        plane.post()
    metrics = httpx.get(f"http://{plane.traffic.metrics}/metrics", trust_env=False).text  # stays as it was
    assert "ssl_certificate_expiration_unix_time_seconds" in metrics
    plane.router.start(plane.routes())
    assert plane.post()[0].text == "stable 2"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("version", "protocols", "got"),
    [
        (ssl.TLSVersion.TLSv1_1, ["http/1.1"], None),
        (ssl.TLSVersion.TLSv1_2, ["h2", "http/1.1"], ("TLSv1.2", "h2")),
        (ssl.TLSVersion.TLSv1_3, ["http/1.1"], ("TLSv1.3", "http/1.1")),
    ],
)
def test_old_versions_of_tls_are_refused(
    plane: Any, make: Make, version: ssl.TLSVersion, protocols: list[str], got: tuple[str, str] | None
) -> None:
    files = make()
    secured(plane, files)
    context = ssl.create_default_context(cafile=files["certificate"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # else this side is who refuses the old one
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, version
    context.set_alpn_protocols(protocols)
    host, port = plane.traffic.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        if got is None:
            with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
                context.wrap_socket(raw, server_hostname=host)
        else:
            with context.wrap_socket(raw, server_hostname=host) as spoken:
                assert (spoken.version(), spoken.selected_alpn_protocol()) == got


def test_who_says_nothing_is_cut_off(plane: Any, make: Make) -> None:
    secured(plane, make())
    host, port = plane.traffic.listen.split(":")
    with socket.create_connection((host, int(port)), timeout=10) as silent:
        assert silent.recv(1) == b""


def test_a_renewed_certificate_is_taken_up_and_no_request_is_lost(plane: Any, make: Make, eventually: Any) -> None:
    """Between the two renames the certificate does not fit the key: the old pair is served on."""
    files = make()
    before = Path(files["certificate"]).read_text()
    router = secured(plane, files)
    clients = plane.clients()
    clients.tls = ssl.create_default_context(cafile=files["certificate"])
    failed = r"^sds\.certificate\.key_rotation_failed$"
    with clients.load():
        new = make("new")
        renewed = Path(new["certificate"]).read_text()
        Path(new["certificate"]).rename(files["certificate"])
        eventually(lambda: router.admin.numbers_and_texts(failed), lambda found: "0" not in found.values())
        assert served(plane) == before
        Path(new["key"]).rename(files["key"])
        eventually(lambda: served(plane), lambda now: now == renewed)
        sent = clients.sent
        eventually(lambda: clients.sent, lambda now: now > sent)
    assert clients.failed == 0, clients.answers


def test_other_files_are_taken_up_and_an_envoy_that_died_finds_them(plane: Any, make: Make) -> None:
    secured(plane, make())
    other = make("other", folder=Path(make()["key"]).parent / "elsewhere")
    router = secured(plane, other)
    assert served(plane) == Path(other["certificate"]).read_text()
    found = process.find(router.at)
    assert found is not None
    process.end(found, router.at)
    changed(plane, tls=other).start_again()
    assert ask(plane, other["certificate"]).status_code == 200
    Path(other["key"]).unlink()
    found = process.find(router.at)
    assert found is not None
    process.end(found, router.at)
    with pytest.raises(RouterRefused, match=r"rollout\.traffic\.tls\.key: there is no file"):
        changed(plane, tls=other).start_again()


def test_a_driver_keeps_the_tls_that_came_after_it(plane: Any, make: Make) -> None:
    """Its rollout was opened with HTTP, and then with another certificate; Envoy may also die on the way."""
    files = make()
    secured(plane, files)
    for driver in (plane.router, changed(plane, tls=make("other"))):
        driver.apply(plane.routes(10_000))
        assert ask(plane, files["certificate"]).text == "candidate 2"
        found = process.find(driver.at)
        assert found is not None
        process.end(found, driver.at)
        driver.start_again()
        assert served(plane) == Path(files["certificate"]).read_text()
        driver.apply(plane.routes())
        assert ask(plane, files["certificate"]).text == "stable 2"
    with pytest.raises(httpx.TransportError):
        plane.post()


def test_turning_tls_on_and_off_loses_no_request_in_flight(plane: Any, make: Make, eventually: Any) -> None:
    """Who is connected is answered, and asked to connect anew."""
    files = make()
    plane.stable.delay = 1.0
    for router, tls in ((changed(plane, tls=files), None), (plane.router, files)):
        clients = plane.clients()
        if tls:
            clients.tls = ssl.create_default_context(cafile=files["certificate"])
        hits = plane.stable.hits
        with clients.load(connections=4):
            eventually(lambda: plane.stable.hits, lambda now, hits=hits: now >= hits + 4)
            router.start(plane.routes())
        assert clients.answers == {(200, "stable"): 4}


@pytest.mark.parametrize("broken", ["missing", "open", "stranger", "text", "encrypted", "curve"])
def test_files_that_will_not_do_are_named_and_traffic_goes_on(plane: Any, make: Make, broken: str) -> None:
    files = make(curve="secp224r1") if broken == "curve" else make()
    key = Path(files["key"])
    said = {
        "missing": r"tls\.key: there is no file .*server\.key",
        "open": r"tls\.key: everybody on this machine may read .*chmod 600.*defaultMode: 0440",
        "stranger": r"tls\.key: .*server\.key is not the key of .*server\.crt",
        "text": r"tls\.certificate: .* are not a certificate and a key in PEM",
        "encrypted": r"tls\.key: .* is encrypted",
        "curve": "Envoy refused sds_certificate.json and serves what it served before: .*",
    }
    if broken == "missing":
        key.unlink()
    elif broken == "open":
        key.chmod(0o604)
    elif broken == "stranger":
        key.write_text(Path(make("stranger")["key"]).read_text())
    elif broken == "text":
        key.write_text("no key\n")
    elif broken == "encrypted":
        plain = key.rename(key.with_suffix(".plain"))
        command = [OPENSSL, "pkey", "-aes256", "-passout", "pass:x", "-in", plain, "-out", key]
        subprocess.run(command, check=True)
        key.chmod(0o600)
    with pytest.raises((RouterRefused, RouterDown), match=said[broken]):
        secured(plane, files)
    assert plane.post()[0].status_code == 200
    plane.router.apply(plane.routes(10_000))
    assert plane.post()[0].text == "candidate 2"


def test_clients_show_certificates_of_their_own(plane: Any, make: Make) -> None:
    files, friend, stranger = make(), make("friend"), make("stranger")
    secured(plane, files | {"client_ca": friend["certificate"]})
    assert ask(plane, files["certificate"], own=friend).status_code == 200
    for own in (None, stranger):
        with pytest.raises(httpx.TransportError):
            ask(plane, files["certificate"], own=own)
    assert plane.stable.hits == 1
