"""`lockgate observe` beside Prometheus: Grafana where it is installed, and servers of language models.

No Grafana was at hand. A program of that name stands in for it: a process that keeps what it is told, and answers
/api/health on the address of its configuration, as Grafana's documentation has it.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from lockgate.dashboards.grafana.stored import FOLDER
from lockgate.flows.observing import grafana

_GRAFANA = """#!{python}
import configparser, json, os, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
told = {{"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}}
settings = configparser.RawConfigParser()
settings.read(sys.argv[sys.argv.index("--config") + 1])
told["settings"] = {{section: dict(settings[section]) for section in settings.sections()}}
open("{told}", "w").write(json.dumps(told))
if "{fails}":
    sys.exit("{fails}")
class Page(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
server = settings["server"]
HTTPServer((server["http_addr"], int(server["http_port"])), Page).serve_forever()
"""
_VLLM = """\
# HELP vllm:generation_tokens_total Number of generation tokens processed.
# TYPE vllm:generation_tokens_total counter
vllm:generation_tokens_total{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 27453.0
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 8.0
# HELP vllm:time_to_first_token_seconds Histogram of time to first token in seconds.
# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.02",model_name="meta-llama/Llama-3.1-8B-Instruct"} 13.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="0.1",model_name="meta-llama/Llama-3.1-8B-Instruct"} 123.0
vllm:time_to_first_token_seconds_bucket{engine="0",le="+Inf",model_name="meta-llama/Llama-3.1-8B-Instruct"} 140.0
vllm:time_to_first_token_seconds_count{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 140.0
vllm:time_to_first_token_seconds_sum{engine="0",model_name="meta-llama/Llama-3.1-8B-Instruct"} 11.2
"""
"""Of vLLM's /metrics, as its documentation has it."""
_OTHERS = {
    "sglang": 'sglang:generation_tokens_total{model_name="m"} 7557.0\nsglang:time_to_first_token_seconds_count 3.0\n',
    "tgi": "tgi_request_generated_tokens_sum 2048.0\ntgi_request_generated_tokens_count 16.0\n",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """`installed()`: a `grafana` on PATH; the file of what it is told."""

    def install(name: str = "grafana", fails: str = "") -> Path:
        folder, told = tmp_path / "grafana-bin" / "bin", tmp_path / "told.json"
        folder.mkdir(parents=True)
        (folder.parent / "conf").mkdir()
        (folder.parent / "conf" / "defaults.ini").write_text("")  # where its pages are
        program = folder / name
        program.write_text(_GRAFANA.format(python=sys.executable, told=told, fails=fails))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("GF_SERVER_HTTP_ADDR", "0.0.0.0")  # noqa: S104 - for another Grafana, not for ours
        return told

    return install


def observed(running: Any, *more: str) -> tuple[str, Any]:
    """Where Grafana listens, and the command."""
    at = running.free_address()
    where = ["--listen", running.free_address(), "--metrics", running.free_address(), "--grafana", at]
    return at, running.run("observe", *where, "--scrape", "500ms", *more)


def test_before_grafana_10_the_program_had_another_name(installed: Callable[..., Path]) -> None:
    told = installed("grafana-server")
    assert grafana.program() == [str(told.parent / "grafana-bin" / "bin" / "grafana-server")]


def test_grafana_is_started_with_our_dashboards_and_ends_with_us(
    running: Any, prometheus: str, installed: Callable[..., Path]
) -> None:
    assert prometheus
    told = installed()
    at, process = observed(running)
    listens = running.said(process, "Prometheus on http://").split("http://")[1].split(";")[0]
    running.said(process, f"Grafana on http://{at}/dashboards")
    assert httpx.get(f"http://{at}/api/health", trust_env=False).is_success
    found = json.loads(told.read_text())
    folder = running.home.root / "observe" / "grafana"
    home = told.parent / "grafana-bin"
    assert found["arguments"] == ["server", "--config", str(folder / "grafana.ini"), "--homepath", str(home)]
    assert not [key for key in found["environment"] if key.startswith("GF_")]
    settings = found["settings"]
    assert settings["server"]["http_addr"] == "127.0.0.1"
    assert settings["auth.anonymous"] == {"enabled": "true", "org_role": "Viewer"}
    assert settings["security"]["disable_initial_admin_creation"] == "true"
    assert settings["analytics"]["reporting_enabled"] == "false"
    assert Path(settings["paths"]["data"]).is_relative_to(folder)
    provisioning = Path(settings["paths"]["provisioning"])
    source = yaml.safe_load((provisioning / "datasources" / "lockgate.yaml").read_text())["datasources"][0]
    assert (source["url"], source["jsonData"]["timeInterval"]) == (f"http://{listens}", "500ms")
    provider = yaml.safe_load((provisioning / "dashboards" / "lockgate.yaml").read_text())["providers"][0]
    assert Path(provider["options"]["path"]) == FOLDER
    children = psutil.Process(process.pid).children()
    assert len(children) == 2
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    assert not any(child.is_running() for child in children)


def test_a_grafana_that_does_not_start_costs_nobody_the_measuring(
    running: Any, prometheus: str, installed: Callable[..., Path], ask: Any
) -> None:
    assert prometheus
    installed(fails="bind: address already in use")
    _, process = observed(running)
    listens = running.said(process, "Prometheus on http://").split("http://")[1].split(";")[0]
    running.said(process, "address already in use")
    running.said(process, "The dashboards are not drawn; --grafana HOST:PORT names another address")
    running.until(lambda: ask(listens, 'up{job="lockgate-exporter"} == 1'))
    assert process.poll() is None


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.server.text.encode())  # type: ignore[attr-defined]

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@pytest.fixture
def server() -> Iterator[Callable[[str], str]]:
    """`server(text)`: the address of what answers this text on /metrics."""
    started: list[tuple[ThreadingHTTPServer, threading.Thread]] = []

    def start(text: str) -> str:
        made = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
        made.text = text  # type: ignore[attr-defined]
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((made, thread))
        return f"127.0.0.1:{made.server_address[1]}"

    yield start
    for made, thread in started:
        made.shutdown()
        made.server_close()
        thread.join()


def test_what_servers_of_language_models_say_per_token_has_one_name(
    running: Any, prometheus: str, ask: Any, server: Callable[[str], str]
) -> None:
    """And where there is no Grafana, it is said how to get one."""
    assert prometheus
    vllm, sglang, tgi = server(_VLLM), server(_OTHERS["sglang"]), server(_OTHERS["tgi"])
    more = [word for one in (vllm, sglang, tgi) for word in ("--model-server", f"toy={one}")]
    _, process = observed(running, *more)
    listens = running.said(process, "Prometheus on http://").split("http://")[1].split(";")[0]
    if grafana.program() is None:
        assert "examples/observability/compose.yaml" in running.said(process, "Grafana is not installed")
    tokens = 'lockgate_output_tokens_total{name="toy"}'
    found = running.until(lambda: len(every := ask(listens, tokens)) == 3 and every)
    assert {one["metric"]["replica"]: float(one["value"][1]) for one in found} == {
        vllm: 27453.0,
        sglang: 7557.0,
        tgi: 2048.0,
    }
    first = f'histogram_quantile(0.5, sum by (le) (lockgate_time_to_first_token_seconds_bucket{{replica="{vllm}"}}))'
    assert 0.02 < float(ask(listens, first)[0]["value"][1]) < 0.1
    assert float(ask(listens, f'lockgate_time_to_first_token_seconds_sum{{replica="{vllm}"}}')[0]["value"][1]) == 11.2
    assert ask(listens, '{__name__=~"vllm:.+|sglang:.+|tgi_.+"}') == []


def test_a_server_without_a_pipeline_is_refused(running: Any) -> None:
    process = running.run("observe", "--model-server", "127.0.0.1:8000")
    running.said(process, "is not NAME=HOST:PORT")
    assert process.wait(60) == 2
