"""Everything that watches, started together and ended together."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from lockgate.flows.errors import MissingPart
from lockgate.flows.home import Home, home
from lockgate.flows.hook_server import parsed
from lockgate.flows.metrics.serving import exporting
from lockgate.flows.observing import folder, grafana
from lockgate.flows.observing.following import Following
from lockgate.flows.observing.prometheus import GET_IT, ended, local, program, prometheus
from lockgate.flows.observing.stopping import stopping
from lockgate.flows.observing.targets import Server
from lockgate.flows.spec import Spec


@dataclass(frozen=True, slots=True)
class Options:
    """Addresses are HOST:PORT, times are seconds, `objective` is percent."""

    listen: str
    metrics: str
    scrape: float
    keep: float
    objective: float
    alertmanagers: Sequence[str] = ()
    without: bool = False
    """Start no Prometheus: another one reads the folder."""
    servers: Sequence[Server] = ()
    """Of language models, whose tokens are read."""
    grafana: str = ""
    """Where Grafana listens, where it is installed; empty: none is started."""


def observe(specs: Sequence[Spec], options: Options, say: Callable[[str], object], where: Home | None = None) -> None:
    """Until a signal comes. Raises `ValueError` for options that are none, `MissingPart` for what does not start."""
    where = where or home()
    served = [server.address for server in options.servers]
    for address in filter(None, (options.listen, options.metrics, options.grafana, *options.alertmanagers, *served)):
        _checked(address)
    at = where.root / "observe"
    wanted = folder.Wanted(local(options.metrics), options.scrape, options.objective, options.alertmanagers)
    at.mkdir(exist_ok=True)
    with ExitStack() as held:
        held.enter_context(_alone(at))
        into = folder.written(at, wanted)
        stop = held.enter_context(stopping())
        say(f"metrics of rollouts on {held.enter_context(exporting(options.metrics, where))}")
        held.enter_context(Following(where, specs, into, servers=options.servers))
        if options.without or program() is None:
            say(f"{'' if options.without else GET_IT + '. '}Let it read {at / 'prometheus.yml'}; this keeps it current")
            stop.wait()
        else:
            _with_prometheus(held, at, options, (say, stop))


@contextmanager
def _alone(at: Path) -> Iterator[None]:
    """Raises `MissingPart` where another one keeps this folder."""
    lock = FileLock(at / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise MissingPart(f"another `lockgate observe` keeps {at} current; stop that one first") from None
    try:
        yield
    finally:
        lock.release()


def _with_prometheus(
    held: ExitStack, at: Path, options: Options, until: tuple[Callable[[str], object], threading.Event]
) -> None:
    say, stop = until
    process = held.enter_context(prometheus(at, options.listen, options.keep))
    say(f"Prometheus on http://{local(options.listen)}; its data and log are in {at}")
    drawn = _with_grafana(held, at, options, say)
    while not stop.wait(1.0):
        if reason := ended(process, at):
            raise reason
        if drawn and (why := grafana.ended(drawn, at)):  # what is measured is measured all the same
            say(str(why))
            drawn = None


def _with_grafana(
    held: ExitStack, at: Path, options: Options, say: Callable[[str], object]
) -> subprocess.Popen[bytes] | None:
    if not options.grafana:
        return None
    if grafana.program() is None:
        say(grafana.GET_IT)
        return None
    source = grafana.Source(f"http://{local(options.listen)}", options.scrape)
    try:
        process = held.enter_context(grafana.grafana(at, options.grafana, source))
    except MissingPart as reason:  # one of the machine's own may have the port
        say(f"{reason}\nThe dashboards are not drawn; --grafana HOST:PORT names another address")
        return None
    say(f"Grafana on http://{local(options.grafana)}/dashboards; its data and log are in {at / grafana.FOLDER}")
    return process


def _checked(address: str) -> None:
    try:
        parsed(address)
    except ValueError as error:
        raise ValueError(f"{address}: {error}") from None
