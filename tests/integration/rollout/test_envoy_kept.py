"""A kill between Envoy's yes and the copy of what it accepted: whoever comes next makes the copy."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from lockgate.rollout.envoy import process, xds
from lockgate.rollout.envoy.router import EnvoyRouter
from lockgate.rollout.errors import RouterRefused
from lockgate.rollout.spec import Traffic

STAYS, GOES = ("key-of-" + name * 4 for name in ("stays", "goes"))
BOTH, ONE = {"clients": {"keys": {"a": STAYS, "b": GOES}}}, {"clients": {"keys": {"a": STAYS}}}
Kill = Callable[[str], AbstractContextManager[None]]


class KilledError(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.fixture
def killed_before_keeping(monkeypatch: pytest.MonkeyPatch) -> Kill:
    """While the `with` lasts, whoever would copy this file is killed."""

    real = xds.Files._keep

    @contextmanager
    def of(name: str) -> Iterator[None]:
        def keep(files: xds.Files, which: str) -> None:
            if which == name and files._good(name).read_bytes() != files._file(name).read_bytes():
                raise KilledError
            real(files, which)

        with monkeypatch.context() as patched:
            patched.setattr(xds.Files, "_keep", keep)
            with pytest.raises(KilledError):
                yield

    return of


def changed(plane: Any, **more: Any) -> EnvoyRouter:
    """The router of the same Envoy with other `traffic`."""
    traffic = Traffic.model_validate(plane.traffic.model_dump(mode="json") | more)
    return EnvoyRouter(plane.router.at.path, traffic)


def dies_and_comes_back(plane: Any) -> None:
    found = process.find(plane.router.at)
    assert found is not None
    process.end(found, plane.router.at)
    plane.router.start_again()


def answered(plane: Any) -> list[int]:
    headers = [{"authorization": key} for key in (STAYS, GOES)]
    return [httpx.post(plane.url, headers=one, trust_env=False, timeout=30).status_code for one in headers]


def test_a_key_that_was_taken_away_stays_away(plane: Any, killed_before_keeping: Kill) -> None:
    changed(plane, **BOTH).start(plane.routes())
    with killed_before_keeping("rds"):
        changed(plane, **ONE).start(plane.routes())
    assert answered(plane) == [200, 401]
    changed(plane, **ONE).start(plane.routes())
    dies_and_comes_back(plane)
    assert answered(plane) == [200, 401]


def test_a_driver_that_applies_its_routes_keeps_it_too(plane: Any, killed_before_keeping: Kill) -> None:
    driver = changed(plane, **BOTH)
    driver.start(plane.routes())
    with killed_before_keeping("rds"):
        changed(plane, **ONE).start(plane.routes())
    driver.apply(plane.routes())
    dies_and_comes_back(plane)
    assert answered(plane) == [200, 401]


def test_what_is_refused_next_brings_it_not_back(plane: Any, killed_before_keeping: Kill) -> None:
    changed(plane, **BOTH).start(plane.routes())
    with killed_before_keeping("rds"):
        changed(plane, **ONE).start(plane.routes())
    files = plane.router._files
    bad = files.resources("rds")
    bad[0]["virtual_hosts"][0]["wieght"] = 1
    with pytest.raises(RouterRefused):
        files.put("rds", bad)
    assert answered(plane) == [200, 401]
    dies_and_comes_back(plane)
    assert answered(plane) == [200, 401]


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make certificates")
def test_another_certificate_is_kept_too(plane: Any, killed_before_keeping: Kill, tmp_path: Path) -> None:
    def made(name: str) -> EnvoyRouter:
        files = {"certificate": str(tmp_path / f"{name}.crt"), "key": str(tmp_path / f"{name}.key")}
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        command += ["-subj", f"/CN={name}", "-keyout", files["key"], "-out", files["certificate"]]
        subprocess.run(command, check=True, capture_output=True)
        return changed(plane, tls=files)

    old, new = made("old"), made("new")
    old.start(plane.routes())
    with killed_before_keeping("sds_certificate"):
        new.start(plane.routes())
    new.start(plane.routes())
    kept = plane.router.at.good / "sds_certificate.json"
    assert "new.crt" in kept.read_text()
    dies_and_comes_back(plane)
    assert plane.router._files.good("sds_certificate") == plane.router._files.resources("sds_certificate")
    assert "old.crt" not in (plane.router.at.xds / "sds_certificate.json").read_text()


def test_nothing_is_written_where_it_was_kept(plane: Any) -> None:
    before = {path: path.stat().st_mtime_ns for path in plane.router.at.good.iterdir()}
    plane.router.apply(plane.routes())
    plane.router.start(plane.routes())
    assert {path: path.stat().st_mtime_ns for path in plane.router.at.good.iterdir()} == before
