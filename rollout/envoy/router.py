"""The port `Router` on Envoy: files that are renamed into place, and a process that outlives us."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from lockgate.rollout.envoy import process
from lockgate.rollout.envoy.admin import Admin
from lockgate.rollout.envoy.bootstrap import bootstrap
from lockgate.rollout.envoy.checks import check, check_files, check_tls
from lockgate.rollout.envoy.clusters import CANDIDATE, STABLE, clusters, endpoints
from lockgate.rollout.envoy.feedback import keep_while_routed
from lockgate.rollout.envoy.folder import admin_socket, exclusive, folder
from lockgate.rollout.envoy.listeners import INGRESS, listeners
from lockgate.rollout.envoy.others import challenger, keep_others, let_go, taken_over
from lockgate.rollout.envoy.protected import protected
from lockgate.rollout.envoy.resources import Resource
from lockgate.rollout.envoy.routes import ROUTES, route_configuration, routes_of
from lockgate.rollout.envoy.tls import named, secrets
from lockgate.rollout.envoy.xds import Files
from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.ports import always
from lockgate.rollout.spec import Traffic
from lockgate.rollout.words import Endpoint, Routes

_SECONDS_TO_START = 20.0
_PAUSE = 0.01
_BACKTRACE = ("][envoy_bug]", "][backtrace]")
"""Rows of the log that say where Envoy was, and not why it ended."""


class EnvoyRouter:
    """One Envoy with its files in `run_dir`. Any number of these may stand for the same Envoy, in any process."""

    def __init__(self, run_dir: Path, traffic: Traffic, feedback: Path | None = None) -> None:
        """`feedback`: the unix socket of the server that keeps it; without one, `/feedback` goes to the models."""
        self.at = folder(run_dir)
        self.admin = Admin(self.at)
        self._traffic = traffic
        self.feedback = feedback
        self._files = Files(self.at, self.admin)

    def running(self) -> bool:
        return process.find(self.at) is not None

    def known(self) -> bool:
        """Whether it ever served anything: `start_again` goes on with that."""
        return self._files.known()

    def start(self, routes: Routes, own: Callable[[], bool] = always) -> None:
        """Start Envoy, or adopt the one that runs; either goes on with what was served last, else with `routes`.

        What has changed in `rollout.traffic` since is taken up. `own`: asked when nobody else can change anything any
        more; where it says no, what protects the address stays as Envoy has it. Raises `RouterDown`, `RouterRefused`.
        """
        check(routes)
        self.at.create()
        with self._alone():
            ours = not self.known() or own()
            if ours:
                check_files(self._traffic)
            if not self._adopted():
                self._begin(routes if ours else None)
            self._switch(self.applied(), own=ours)

    def _adopted(self) -> bool:
        """Whether an Envoy runs, and is ready; one that ends at this moment is none."""
        if (found := process.find(self.at)) is None:
            return False
        try:
            self._ready(found)
        except RouterDown:
            if process.alive(found):
                raise
            return False
        if not self._files.known():  # its starter was killed before Envoy had taken everything
            self._files.confirm()
        return True

    def renew(self, own: Callable[[], bool] = always) -> None:
        """Take up this process's `rollout.traffic`, where Envoy runs. `own`: as `start`'s.

        Raises `RouterDown`, `RouterRefused`.
        """
        if self.running():
            with self._alone():
                if own():
                    self._switch(self.applied(), own=True)

    def start_again(self) -> None:
        """Start an Envoy that died, with what it served last; one that runs runs on.

        It listens where it did, with the same TLS, keys and limits. Raises `RouterDown`, `RouterRefused`.
        """
        if not self.known():
            raise RouterDown(f"the router in {self.at.path} has served nothing yet; start it with routes")
        with self._alone():
            if process.find(self.at) is None:
                self._begin()

    def stop(self) -> None:
        """Let Envoy finish what it answers, then end it. With none running, nothing changes."""
        if not self.at.path.exists():
            return
        with self._alone():
            if found := process.find(self.at):
                self._drain()
                process.end(found, self.at)

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        """See `Router.apply`."""
        check(routes)
        if not self.running():
            raise RouterDown(f"the router in {self.at.path} does not run; start it first")
        with self._alone():
            if wanted := still():
                self._switch(routes)
        return wanted

    def applied(self) -> Routes:
        """See `Router.applied`; read from Envoy's own dumps. Endpoints are sorted."""
        dump = self.admin.json("/config_dump?resource=dynamic_route_configs")
        served = [one["route_config"] for one in dump.get("configs", []) if one["route_config"]["name"] == ROUTES]
        if not served:
            raise RouterDown(f"the router in {self.at.path} serves no routes; stop it and start it again")
        # Not those of every cluster: feedback's is a socket.
        hosts = {
            one["name"]: _hosts(one.get("host_statuses", []))
            for one in self.admin.json("/clusters?format=json")["cluster_statuses"]
            if one["name"] in (STABLE, CANDIDATE) or challenger(one["name"])
        }
        return routes_of(served[0], hosts)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with exclusive(self.at):
            try:
                yield
            except RouterRefused as refused:
                if taken := process.taken_port(self._traffic, str(refused)):
                    raise RouterDown(taken) from refused
                raise

    def _begin(self, routes: Routes | None = None) -> None:
        """What lies in the watched files may never have been looked at: only what Envoy has accepted is used again.

        Without `routes`, the listeners are those that it accepted, too.
        """
        contents, asked = self._everything(routes or Routes(())), secrets(self._traffic)
        if self._files.known():
            contents |= {name: self._files.good(name) for name in ("rds", "eds_stable", "eds_candidate")}
            good = self._files.good("cds")
            contents["cds"] = keep_while_routed(taken_over(contents["cds"], good), good)
            if routes is None:
                contents["lds"], asked = self._files.good("lds"), self._files.good_secrets()
        check_tls(named(asked))
        self._files.install(contents | asked)
        self.at.bootstrap.write_text(json.dumps(bootstrap(self.at, admin_socket(self.at))))
        self.at.envoy_log.unlink(missing_ok=True)
        begun = process.spawn(self.at)
        try:
            self._ready(begun)
            self._files.confirm(asked)
        except (RouterDown, RouterRefused):
            process.end(begun, self.at)
            raise

    def _ready(self, begun: psutil.Process) -> None:
        deadline = time.monotonic() + _SECONDS_TO_START
        while not self.admin.ready():
            if not process.alive(begun):
                raise RouterDown(f"Envoy ended at its start: {self._last_words()}")
            if time.monotonic() > deadline:
                raise RouterDown(f"Envoy was not ready in {_SECONDS_TO_START:g} s; see {self.at.envoy_log}")
            time.sleep(_PAUSE)

    def _last_words(self) -> str:
        """Before a backtrace, it says in one row what it found."""
        said = self.at.envoy_log.read_text(errors="replace").splitlines() if self.at.envoy_log.exists() else []
        lines = [line for line in said if not any(mark in line for mark in _BACKTRACE)]
        if not lines:
            return f"see {self.at.envoy_log}"
        return lines[-1].partition(" Details: ")[2] or lines[-1]

    def _drain(self) -> None:
        """Until no request is being answered, for at most the time that one may take."""
        deadline = time.monotonic() + self._traffic.timeout
        active = f"http.{INGRESS}.downstream_rq_active"
        try:
            self.admin.post("/drain_listeners?graceful")
            while self.admin.numbers_and_texts(f"^{active}$").get(active) != "0" and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        except RouterDown:
            return  # one that does not answer cannot be asked to drain

    def _switch(self, routes: Routes, *, own: bool = False) -> None:
        """Endpoints and clusters come before the requests that need them, and go after them.

        `own`: whether what protects the address is as this process knows it. One that only applies routes may have
        been started before that changed: it leaves the listeners, keys and limits as they are.
        """
        wanted = self._everything(routes)
        present = self._files.resources("cds")
        self._files.put("cds", keep_while_routed(keep_others(wanted["cds"], present), present))
        if own:
            self._files.put_listeners(wanted["lds"], secrets(self._traffic))
        else:
            self._files.put("lds", self._files.resources("lds"))
            wanted["rds"] = protected(wanted["rds"], self._files.resources("rds"))
        if self._files.resources("rds") != wanted["rds"]:
            for side, new in ((STABLE, routes.stable), (CANDIDATE, routes.candidate)):
                self._files.put(f"eds_{side}", endpoints(side, sorted({*new, *self._written(side)})))
        for name in ("rds", "eds_stable", "eds_candidate"):
            self._files.put(name, wanted[name])
        self._files.put("cds", let_go(wanted["cds"], self._files.resources("cds"), time.time()))

    def _written(self, side: str) -> list[Endpoint]:
        found = self._files.resources(f"eds_{side}")[0]["endpoints"]
        return [_endpoint(one["endpoint"]["address"]) for group in found for one in group["lb_endpoints"]]

    def _everything(self, routes: Routes) -> dict[str, list[Resource]]:
        return {
            "cds": clusters(self._traffic, self.at, self.feedback, routes.others),
            "lds": listeners(self._traffic, self.at),
            "rds": route_configuration(self._traffic, routes, feedback=self.feedback is not None),
            "eds_stable": endpoints(STABLE, sorted(routes.stable)),
            "eds_candidate": endpoints(CANDIDATE, sorted(routes.candidate)),
        }


def _hosts(statuses: Iterable[Resource]) -> tuple[Endpoint, ...]:
    return tuple(sorted(_endpoint(one["address"]) for one in statuses))


def _endpoint(address: Resource) -> Endpoint:
    return Endpoint(address["socket_address"]["address"], address["socket_address"]["port_value"])
