"""`/metrics` over HTTP."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from lockgate.flows.cli.metrics import command
from lockgate.flows.errors import MissingPart
from lockgate.flows.metrics.serving import exporting


def free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_it_is_served_while_the_with_lasts(exporter: Any) -> None:
    exporter.open()
    with exporting(free_address(), exporter.home) as url:
        text = httpx.get(url, trust_env=False).text
        assert 'lockgate_rollout_open{name="toy"} 1.0' in text
        assert "# HELP lockgate_rollout_open Whether a rollout is open." in text
        assert "python_gc" not in text
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_an_address_that_is_taken_is_said(exporter: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with (
            pytest.raises(MissingPart, match=f"metrics cannot be served on {address} .*in use.*name another"),
            exporting(address, exporter.home),
        ):
            pass


@pytest.mark.parametrize("address", ["9464", "localhost:0", "127.0.0.1:http"])
def test_an_address_that_is_none_is_a_usage_error(address: str) -> None:
    result = CliRunner().invoke(command, ["--listen", address])
    assert result.exit_code == 2
    assert "needs a host and a port" in result.output
