"""The Grafana program, where it is installed: loopback, dashboards of ours, data in a folder of ours, ended with us.

Everything that it is told is in `grafana.ini` and the provisioning beside it, in words of Grafana's documentation
(setup-grafana/configure-grafana, administration/provisioning).
"""

from __future__ import annotations

import configparser
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from lockgate.dashboards.grafana.stored import FOLDER as DASHBOARDS
from lockgate.flows.errors import MissingPart
from lockgate.flows.observing.prometheus import end, local
from lockgate.flows.observing.scraping import duration

FOLDER = "grafana"
GET_IT = (
    "Grafana is not installed, so nothing draws the dashboards (https://grafana.com/grafana/download, or"
    " examples/observability/compose.yaml, which has one in Docker)"
)
_PROGRAMS = {"grafana": ("server",), "grafana-server": ()}
"""What it is called, and its command: since Grafana 10 `grafana-server` is there for old scripts only."""
_HOMES = ("/usr/share/grafana", "/opt/homebrew/opt/grafana/share/grafana", "/usr/local/opt/grafana/share/grafana")
"""Where packages put `conf/defaults.ini` and the pages."""
_READY_WITHIN = 60.0
_LINES = 5


@dataclass(frozen=True, slots=True)
class Source:
    """Prometheus's address, and seconds between two of its scrapes."""

    url: str
    scrape: float


def program() -> list[str] | None:
    """The command that starts it, if it is installed."""
    for name, more in _PROGRAMS.items():
        if found := shutil.which(name):
            return [found, *more]
    return None


@contextmanager
def grafana(at: Path, listen: str, source: Source) -> Iterator[subprocess.Popen[bytes]]:
    """The process, once it answers. `at`: the folder of `lockgate observe`.

    Raises `MissingPart` when it is not installed, or ends, with the last lines of its log.
    """
    found = program()
    if found is None:
        raise MissingPart(GET_IT)
    folder = at / FOLDER
    command = [*found, "--config", str(written(folder, listen, source))]
    if home := _home(Path(found[0])):
        command += ["--homepath", str(home)]
    # What the reader's own Grafana is told by the environment is not for this one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GF_")}
    with _log(at).open("wb") as log:
        process = subprocess.Popen(
            command, cwd=home or folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment
        )
    try:
        _await_ready(process, at, listen)
        yield process
    finally:
        end(process)


def written(folder: Path, listen: str, source: Source) -> Path:
    """Write all that it is told; the path of `grafana.ini`."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    provisioning = folder / "provisioning"
    data = {"name": "Prometheus", "type": "prometheus", "access": "proxy", "url": source.url, "isDefault": True}
    data |= {"uid": "lockgate", "editable": False, "jsonData": {"timeInterval": duration(source.scrape)}}
    provider = {"name": "lockgate", "folder": "Lockgate", "type": "file", "allowUiUpdates": False}
    provider |= {"options": {"path": str(DASHBOARDS)}}
    _put(provisioning / "datasources" / "lockgate.yaml", {"apiVersion": 1, "datasources": [data]})
    _put(provisioning / "dashboards" / "lockgate.yaml", {"apiVersion": 1, "providers": [provider]})
    for empty in ("plugins", "alerting"):  # it warns of folders that are not there
        (provisioning / empty).mkdir(exist_ok=True)
    settings = configparser.RawConfigParser()
    settings.read_dict(_settings(folder, listen))
    with (folder / "grafana.ini").open("w", encoding="utf-8") as file:
        file.write("; Written by `lockgate observe`, anew at each start.\n")
        settings.write(file)
    return folder / "grafana.ini"


def _settings(folder: Path, listen: str) -> dict[str, dict[str, str]]:
    """Who reaches the address looks, and nobody logs in: there is no password that anybody could guess."""
    host, _, port = listen.rpartition(":")
    return {
        "paths": {
            "data": str(folder / "data"),
            "logs": str(folder / "data" / "log"),
            "plugins": str(folder / "data" / "plugins"),
            "provisioning": str(folder / "provisioning"),
        },
        "server": {"protocol": "http", "http_addr": host, "http_port": port},
        "auth": {"disable_login_form": "true"},
        "auth.basic": {"enabled": "false"},
        "auth.anonymous": {"enabled": "true", "org_role": "Viewer"},
        "users": {"allow_sign_up": "false"},
        "security": {"disable_initial_admin_creation": "true"},
        "analytics": {"reporting_enabled": "false", "check_for_updates": "false", "check_for_plugin_updates": "false"},
        "news": {"news_feed_enabled": "false"},
    }


def ended(process: subprocess.Popen[bytes], at: Path) -> MissingPart | None:
    """Why it does not run any more, if it does not."""
    if process.poll() is None:
        return None
    said = "\n".join(_log(at).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LINES:])
    return MissingPart(f"Grafana ended with code {process.returncode}. {_log(at)} ends with:\n{said}")


def _await_ready(process: subprocess.Popen[bytes], at: Path, listen: str) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while time.monotonic() < deadline:
        if reason := ended(process, at):
            raise reason
        try:
            if httpx.get(f"http://{local(listen)}/api/health", timeout=2, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise MissingPart(f"Grafana did not answer on {listen} within {_READY_WITHIN:g} s; see {_log(at)}")


def _home(program_: Path) -> Path | None:
    """Its pages and defaults: of an archive beside the program, of a package in a place of its own."""
    places = [program_.resolve().parent.parent, *map(Path, _HOMES)]
    return next((home for home in places if (home / "conf" / "defaults.ini").is_file()), None)


def _log(at: Path) -> Path:
    return at / FOLDER / "grafana.log"


def _put(path: Path, document: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
