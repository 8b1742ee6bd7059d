"""Serves the series over HTTP, for as long as a `with` lasts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lockgate.flows.errors import MissingPart
from lockgate.flows.home import Home, home
from lockgate.flows.hook_server import parsed

LISTEN = "127.0.0.1:9464"


@contextmanager
def exporting(listen: str = LISTEN, where: Home | None = None) -> Iterator[str]:
    """The URL of `/metrics`. Raises `ValueError` for what is no address, `MissingPart` for one that is taken."""
    from prometheus_client import CollectorRegistry, start_http_server

    from lockgate.flows.metrics.collector import RolloutCollector

    host, port = parsed(listen)
    collector = RolloutCollector(where or home())
    registry = CollectorRegistry()
    registry.register(collector)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MissingPart(f"metrics cannot be served on {listen} ({why}); name another address") from error
    try:
        yield f"http://{listen}/metrics"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        collector.close()
