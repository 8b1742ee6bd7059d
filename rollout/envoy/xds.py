"""The files that Envoy watches: written whole, confirmed by Envoy, and put back when Envoy refuses them."""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lockgate.rollout.envoy.admin import Admin
from lockgate.rollout.envoy.folder import Folder
from lockgate.rollout.envoy.resources import Resource
from lockgate.rollout.envoy.tls import SECRETS, wanted_by
from lockgate.rollout.errors import RouterDown, RouterRefused

SUBSCRIPTIONS = {
    "cds": ("cluster_manager.cds",),
    "eds_stable": ("cluster.stable", "cluster.echo"),
    "eds_candidate": ("cluster.candidate", "cluster.shadow"),
    "lds": ("listener_manager.lds",),
    "rds": ("http.ingress.rds.routes",),
}
"""The files in the order in which Envoy asks for them, and the names under which it counts what became of each."""

_SECONDS = 5.0
"""Envoy takes milliseconds; a machine under load takes longer."""
_PAUSE = 0.005
_REFUSAL = re.compile(r"Filesystem config update \w+: (.*?)(?=\n\[\d{4}-|\Z)", re.DOTALL)
"""A row of Envoy's log, to the start of the next one."""


@dataclass(frozen=True, slots=True)
class _Reception:
    """What Envoy made of one file: the versions it serves, and how often it refused one."""

    versions: frozenset[str]
    refusals: int


class Files:
    def __init__(self, at: Folder, admin: Admin) -> None:
        self._at = at
        self._admin = admin

    def resources(self, name: str) -> list[Resource]:
        """What the file holds now. Raises `RouterDown` when it is not there."""
        return self._content(name)[1]

    def good(self, name: str) -> list[Resource]:
        """What Envoy accepted last."""
        resources: list[Resource] = json.loads(self._good(name).read_bytes())["resources"]
        return resources

    def good_secrets(self) -> dict[str, list[Resource]]:
        """Those that the good listeners ask for; Envoy may have died before it said that they are good."""
        names = wanted_by(self.good("lds"))
        return {name: self.good(name) if self._good(name).exists() else self.resources(name) for name in names}

    def known(self) -> bool:
        """Whether Envoy ever accepted a whole configuration."""
        return all((self._at.good / f"{name}.json").exists() for name in SUBSCRIPTIONS)

    def install(self, contents: Mapping[str, list[Resource]]) -> None:
        """Write every file for an Envoy that does not run yet."""
        for name, resources in contents.items():
            self._write(name, resources)

    def confirm(self, secrets: Iterable[str] = ()) -> None:
        """Wait until an Envoy that has just started serves every file. Raises `RouterRefused`, `RouterDown`.

        `secrets`: those files that its listener needs.
        """
        for name in (*SUBSCRIPTIONS, *secrets):
            self._await(name, self._content(name)[0], refusals=0, log_from=0)
            self._keep(name)

    def put_listeners(self, resources: list[Resource], secrets: Mapping[str, list[Resource]]) -> None:
        """`put` of the listeners with the secrets that they need: Envoy asks for those only then.

        A listener whose secret is refused is not taken up, and what was there before is put back.
        """
        before = self.resources("lds")
        receptions = {name: self._reception(name) for name in secrets}
        served = {name: self._served(name, known) for name, known in receptions.items() if self._file(name).exists()}
        if before == resources and served == secrets:
            self.put("lds", resources)
            return
        log_from = self._at.envoy_log.stat().st_size
        for name, wanted in secrets.items():
            self._write(name, wanted)
        try:
            self.put("lds", resources)
            for name, known in receptions.items():
                self._await(name, self._content(name)[0], known.refusals, log_from)
        except (RouterDown, RouterRefused):
            for name in secrets:
                self._put_back(name)
            self.put("lds", before)
            raise
        for name in secrets:
            self._keep(name)

    def put(self, name: str, resources: list[Resource]) -> None:
        """Make Envoy serve `resources`; when it does already, nothing is written.

        Raises `RouterRefused` when Envoy keeps what it has, and `RouterDown` when it does not say; the file is then
        the last good one again.
        """
        before = self._reception(name)
        if self._served(name, before) == resources:
            return
        log_from = self._at.envoy_log.stat().st_size
        try:
            self._await(name, self._write(name, resources), before.refusals, log_from)
        except (RouterDown, RouterRefused):
            self._put_back(name)
            raise
        self._keep(name)

    def _served(self, name: str, reception: _Reception) -> list[Resource] | None:
        """What the file holds, where Envoy has taken it: kept by now, also if its writer was killed before it was."""
        version, resources = self._content(name)
        if reception.versions != {version}:
            return None
        self._keep(name)
        return resources

    def _await(self, name: str, version: str, refusals: int, log_from: int) -> None:
        deadline = time.monotonic() + _SECONDS
        while (now := self._reception(name)).versions != {version}:
            if now.refusals > refusals:
                raise RouterRefused(
                    f"Envoy refused {name}.json and serves what it served before: {self._reason(log_from)}"
                )
            if time.monotonic() > deadline:
                raise RouterDown(
                    f"Envoy did not take up {self._file(name)} in {_SECONDS:g} s; see {self._at.envoy_log}"
                )
            time.sleep(_PAUSE)

    def _reception(self, name: str) -> _Reception:
        counted = SUBSCRIPTIONS.get(name) or (SECRETS[name],)
        prefixes = "|".join(counted)
        stats = self._admin.numbers_and_texts(rf"^({prefixes})\.(version_text|update_rejected|update_failure)$")
        return _Reception(
            frozenset(stats.get(f"{prefix}.version_text", "") for prefix in counted),
            sum(int(value) for key, value in stats.items() if not key.endswith("version_text")),
        )

    def _reason(self, log_from: int) -> str:
        """Envoy says why in its log only."""
        with self._at.envoy_log.open("rb") as log:
            log.seek(log_from)
            reasons = _REFUSAL.findall(log.read().decode(errors="replace"))
        return " ".join(reasons[-1].split()) if reasons else f"see {self._at.envoy_log}"

    def _write(self, name: str, resources: list[Resource]) -> str:
        version = uuid.uuid4().hex
        content = {"version_info": version, "resources": resources}
        _replace(self._file(name), json.dumps(content).encode())
        return version

    def _put_back(self, name: str) -> None:
        """Left there, a refused file would be what the next start finds."""
        if self._good(name).exists():
            _replace(self._file(name), self._good(name).read_bytes())

    def _keep(self, name: str) -> None:
        """What Envoy has accepted. Mostly it is there already, and compared on every tick: nothing is written then."""
        good, accepted = self._good(name), self._file(name).read_bytes()
        if not good.exists() or good.read_bytes() != accepted:
            _replace(good, accepted)

    def _content(self, name: str) -> tuple[str, list[Resource]]:
        try:
            content = json.loads(self._file(name).read_bytes())
            return content["version_info"], content["resources"]
        except (OSError, ValueError, KeyError) as reason:
            raise RouterDown(
                f"{self._file(name)} cannot be read ({reason}); stop the router and start it again"
            ) from None

    def _file(self, name: str) -> Path:
        return self._at.xds / f"{name}.json"

    def _good(self, name: str) -> Path:
        return self._at.good / f"{name}.json"


def _replace(path: Path, content: bytes) -> None:
    """Envoy reads a file only when another one is renamed onto it; and so nobody ever reads half of one.

    Clients' keys stand in it: nobody else on this machine may read it.
    """
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # of one that was left there, too
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
