"""What each piece costs in instructions of Envoy's worker, as valgrind counts them.

CPU time differs by a tenth from run to run, and a piece costs less than that. Instructions differ by a thousandth. The
kernel's are not among them: two fifths of the worker's CPU time, and the same with every piece but the logs.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.router.load import BODY
from benchmarks.router.pieces import PIECES, everything, nothing
from benchmarks.router.routers import Change, Refused, await_serving, written
from benchmarks.router.servers import program
from lockgate.rollout.words import Routes

WARM, COUNTED = 200, 500
"""Requests."""
WHOLE, BARE = "whole", "Envoy itself"
_VALGRIND = ("valgrind", "--tool=callgrind", "--instr-atstart=no", "--separate-threads=yes")
_SECONDS = 180.0
"""Everything takes fifty times as long there."""


def breakdown(folder: Path, routes: Routes) -> Mapping[str, int]:
    """Instructions per request of the whole, of each piece, and of what is left without all of them."""
    whole = count(folder / "whole", routes, nothing)
    found = {WHOLE: whole}
    print(f"instructions {WHOLE:36} {whole}", file=sys.stderr)
    for i, (name, piece) in enumerate(PIECES.items()):
        found[name] = whole - count(folder / str(i), routes, piece)
        print(f"instructions {name:36} {found[name]}", file=sys.stderr)
    found[BARE] = count(folder / "bare", routes, everything)
    print(f"instructions {BARE:36} {found[BARE]}", file=sys.stderr)
    return found


def count(folder: Path, routes: Routes, change: Change) -> int:
    """Per request, in the busiest thread. Raises `Refused` where Envoy does not run under valgrind."""
    at, address, command = written(folder, routes, change)
    output = folder / "callgrind"
    with _running([*_VALGRIND, f"--callgrind-out-file={output}", *command], folder / "valgrind.log") as pid:
        await_serving(at, _SECONDS)
        _ask(address, WARM)
        _control(pid, "--instr=on")
        _ask(address, WARM)
        _control(pid, "--zero")
        _ask(address, COUNTED)
        _control(pid, "--dump")
    # The first dump; a file for each thread.
    totals = [_total(one) for one in folder.glob("callgrind.1-*")]
    if not totals:
        raise Refused(f"valgrind counted nothing: {(folder / 'valgrind.log').read_text(errors='replace')[-2000:]}")
    return round(max(totals) / COUNTED)


def _total(dump: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(errors="replace"), re.MULTILINE)
    return int(found[1]) if found else 0


def _control(pid: int, order: str) -> None:
    subprocess.run([program("callgrind_control"), order, str(pid)], check=True, capture_output=True)


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[int]:
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as program:
        try:
            yield program.pid
        finally:
            program.terminate()


def _ask(address: str, requests: int) -> None:
    """One after the other on one connection, as soon as Envoy listens."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            connection = socket.create_connection((host, int(port)), timeout=_SECONDS)
            break
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    with connection, connection.makefile("rb") as answers:
        for number in range(requests):
            head = f"POST /predict HTTP/1.1\r\nhost: {address}\r\nx-user-id: user-{number}\r\n"
            about = f"content-type: application/json\r\ncontent-length: {len(BODY)}\r\n\r\n"
            connection.sendall((head + about + BODY).encode())
            if b" 200 " not in answers.readline():
                raise Refused(f"request {number} to {address} was not answered with 200")
            length = 0
            while (line := answers.readline().lower()) != b"\r\n":
                length = int(line.partition(b":")[2]) if line.startswith(b"content-length:") else length
            answers.read(length)
