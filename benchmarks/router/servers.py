"""The programs of a measurement, each on free loopback ports and ended with its block."""

from __future__ import annotations

import os
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from lockgate.rollout.words import Endpoint

ANSWER = '{"predictions": [0.1, 0.9]}'
_SECONDS_TO_START = 10.0
_EVENTS = "pid {folder}/nginx.pid; error_log {folder}/error.log; events {{ worker_connections 4096; }}\n"
_ONE_PROCESS = "master_process off; daemon off; worker_processes 1;\n"
_KEPT = "keepalive_requests 1000000000; keepalive_timeout 300s;"
_TRIVIAL = """http {{
  access_log off; {kept}
  server {{ {listens} default_type application/json; location / {{ return 200 '{answer}'; }} }}
}}
"""
_NGINX = """http {{
  access_log off; {kept}
  upstream model {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen {listen};
    location / {{ proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""
_HAPROXY = """global
  maxconn 4000
  nbthread 1
defaults
  mode http
  timeout connect 250ms
  timeout client 60s
  timeout server 60s
  option http-keep-alive
  http-reuse always
frontend clients
  bind {listen}
  default_backend models
backend models
  server model {upstream}
"""
# The kernel's timer is exact to a millisecond at the best, and the same for every way.
_SLEEPING = """
import asyncio, socket, sys, uvloop
class Answer(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.seen = transport, b""
    def data_received(self, data):
        self.seen += data
        head, end, body = self.seen.partition(b"\\r\\n\\r\\n")
        if end and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\\r\\n")[0] or 0):
            self.seen = b""
            asyncio.get_running_loop().call_later({delay}, self.transport.write, {answer})
async def main():
    for port in sys.argv[1:]:
        await asyncio.get_running_loop().create_server(Answer, "127.0.0.1", int(port), backlog=512)
    await asyncio.Event().wait()
uvloop.run(main())
"""


@dataclass(frozen=True, slots=True)
class Way:
    """How requests reach the model. `pids`: what stands between; nothing, where nothing does."""

    name: str
    address: str
    pids: tuple[int, ...] = ()


class NotStarted(Exception):
    """A program that was to be measured, or to be asked."""


def free_endpoint() -> Endpoint:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Endpoint("127.0.0.1", probe.getsockname()[1])


@contextmanager
def trivial(folder: Path) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Answers at once, on two ports: nginx costs a few microseconds a request and is steady."""
    both = free_endpoint(), free_endpoint()
    listens = " ".join(f"listen {one};" for one in both)
    with _nginx(folder, _TRIVIAL.format(listens=listens, answer=ANSWER, kept=_KEPT), both):
        yield both


@contextmanager
def sleeping(delay: float) -> Iterator[tuple[Endpoint, Endpoint]]:
    """Answers `delay` seconds after a request, however many there are, on two ports."""
    both = free_endpoint(), free_endpoint()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
    source = _SLEEPING.format(delay=delay, answer=(head + ANSWER).encode())
    with running([sys.executable, "-c", source, *(str(one.port) for one in both)], both):
        yield both


@contextmanager
def nginx(folder: Path, upstream: Endpoint) -> Iterator[Way]:
    listen = free_endpoint()
    config = _NGINX.format(listen=listen, upstream=upstream, kept=_KEPT)
    with _nginx(folder, config, [listen]) as pid:
        yield Way("nginx", str(listen), (pid,))


@contextmanager
def haproxy(folder: Path, upstream: Endpoint) -> Iterator[Way]:
    listen = free_endpoint()
    folder.mkdir(parents=True)
    (folder / "haproxy.cfg").write_text(_HAPROXY.format(listen=listen, upstream=upstream), encoding="utf-8")
    with running([program("haproxy"), "-db", "-f", str(folder / "haproxy.cfg")], [listen]) as pid:
        yield Way("haproxy", str(listen), (pid,))


@contextmanager
def _nginx(folder: Path, config: str, listens: Sequence[Endpoint]) -> Iterator[int]:
    folder.mkdir(parents=True)
    path = folder / "nginx.conf"
    path.write_text(_ONE_PROCESS + _EVENTS.format(folder=folder) + config, encoding="utf-8")
    with running([program("nginx"), "-p", str(folder), "-c", str(path)], listens) as pid:
        yield pid


def program(name: str) -> str:
    """Where it is, or nothing. Debian keeps servers where a user's PATH does not look."""
    return which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])) or ""


@contextmanager
def running(command: Sequence[str], listens: Sequence[Endpoint]) -> Iterator[int]:
    """In a session of its own, as the router's Envoy is: Linux shares a busy machine out by sessions."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True) as program:
        try:
            for one in listens:
                _await(one, program, command)
            yield program.pid
        finally:
            program.terminate()


def _await(listen: Endpoint, program: subprocess.Popen[bytes], command: Sequence[str]) -> None:
    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            socket.create_connection((listen.host, listen.port), timeout=1).close()
        except OSError:
            if program.poll() is not None or time.monotonic() > deadline:
                raise NotStarted(f"nobody listens on {listen}; see what this says: {shlex.join(command)}") from None
            time.sleep(0.02)
        else:
            return
