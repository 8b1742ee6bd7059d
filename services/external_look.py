"""Whether a server that somebody else runs is ready: asked about once a second, beside whoever wants to know.

Its name is looked up each time, so that it may move. Redirects are not followed. Whatever it does, a look ends.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any

from lockgate.services.external_spec import split

_EVERY = 1.0
_ANSWER_WITHIN = 2.0
_FIRST_WITHIN = 4.0
"""Seconds: one that was never looked at may have to be looked up, too."""
_PATIENCE = 3
"""Looks in a row that must go wrong, before who was ready is not; where nobody listens any more, one is enough."""
_BODY = 65_536
_SAYS = 2 * _BODY
"""Bytes of a whole answer, with what comes before its body."""


class Look:
    """One place, which may have several addresses. `why`: what is wrong with the last of them that is not ready."""

    def __init__(self, place: str, path: str) -> None:
        self.place, self._path = place, path
        self._host, port = split(place)
        self._port = int(port)
        self.why = "it has not answered yet"
        self._wrong: dict[str, int] = {}
        """Looks in a row that went wrong, by address; who was never ready has lost its patience."""
        self._found: Mapping[str, bool] = {}
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._began = -_EVERY
        self._first_until = 0.0

    def begin(self) -> None:
        """Look again if it is time, beside the caller: whoever wants to know of several begins with all of them."""
        with self._lock:
            idle, now = self._thread is None or not self._thread.is_alive(), time.monotonic()
            if idle and now - self._began >= _EVERY:
                self._began = now
                self._first_until = self._first_until or now + _FIRST_WITHIN
                self._thread = threading.Thread(target=self._look, name=f"look {self.place}", daemon=True)
                self._thread.start()

    def found(self) -> Mapping[str, bool]:
        """Its IP addresses and whether each is ready, as seen last; the first look alone is waited for, and once."""
        self.begin()
        self._done.wait(max(0.0, self._first_until - time.monotonic()))
        return self._found

    def ready(self) -> tuple[str, ...]:
        """IP addresses that are ready."""
        return tuple(address for address, is_ready in self.found().items() if is_ready)

    def _look(self) -> None:
        try:
            said = self._asked(self._addresses())
        except Exception as failed:  # noqa: BLE001 - who cannot be asked, for want of a thread, say, is not ready
            said = dict.fromkeys(self._wrong, (f"it could not be asked ({type(failed).__name__})", False))
        self._note(said)
        self._done.set()

    def _addresses(self) -> tuple[str, ...]:
        try:
            return addresses(self._host, self._port)
        except (OSError, UnicodeError) as error:  # who was found before is asked: it may outlive its name server
            self.why = f"its name is not known ({error})"
            return tuple(self._wrong)

    def _asked(self, found: tuple[str, ...]) -> dict[str, tuple[str, bool]]:
        said: dict[str, tuple[str, bool]] = {}
        others = [threading.Thread(target=self._ask, args=(one, said), daemon=True) for one in found[1:]]
        for thread in others:
            thread.start()
        for address in found[:1]:  # most have one only
            self._ask(address, said)
        for thread in others:
            thread.join()
        return said

    def _ask(self, address: str, said: dict[str, tuple[str, bool]]) -> None:
        try:
            said[address] = asked(address, self._port, self._path, self.place)
        except Exception as failed:  # noqa: BLE001 - such as JSON that is nested too deep to be read
            said[address] = f"its answer to GET {self._path} cannot be read ({type(failed).__name__})", False

    def _note(self, said: dict[str, tuple[str, bool]]) -> None:
        wrong: dict[str, int] = {}
        for address, (why, gone) in said.items():
            before = self._wrong.get(address, _PATIENCE)
            wrong[address] = 0 if not why else _PATIENCE if gone else before + 1
            self.why = why or self.why
        self._wrong = wrong
        self._found = {address: times < _PATIENCE for address, times in sorted(wrong.items())}


def addresses(host: str, port: int) -> tuple[str, ...]:
    """Of a name, those of IPv4 where it has some: its others lead to the same servers. Raises `OSError`."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    families = {family for family, *_ in found}
    wanted = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    return tuple(dict.fromkeys(str(at[0]) for family, *_, at in found if family == wanted))


def asked(address: str, port: int, path: str, host: str) -> tuple[str, bool]:
    """Why it is not ready, or nothing; and whether nobody listens there at all. `host`: as it is called."""
    connection = http.client.HTTPConnection(address, port)
    try:
        connection.sock = _connected(address, port)
        connection.request("GET", path, headers={"host": host, "accept": "application/json"})
        response = connection.getresponse()
        body = response.read(_BODY)
    except ConnectionRefusedError:
        return "nobody listens there", True
    except TimeoutError:
        return f"it did not answer GET {path} within {_ANSWER_WITHIN:g} s", False
    except (OSError, http.client.HTTPException) as error:
        return f"it broke off at GET {path} ({type(error).__name__})", False
    finally:
        connection.close()
    if response.status != http.HTTPStatus.OK:
        return f"it answered GET {path} with {response.status}", False
    return ("", False) if _says_so(body) else (f"it answered GET {path} with `ready: false`", False)


class _Hurried(socket.socket):
    """Whoever sends a little now and then is late all the same: time and bytes are for the whole answer."""

    until, left = 0.0, _SAYS

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As a socket's."""
        if (remaining := self.until - time.monotonic()) <= 0:
            raise TimeoutError
        self.settimeout(remaining)
        got = super().recv_into(buffer, nbytes, flags)
        self.left -= got
        if self.left < 0:
            raise http.client.HTTPException("it says too much")
        return got


def _connected(address: str, port: int) -> socket.socket:
    found = _Hurried(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    found.until = time.monotonic() + _ANSWER_WITHIN
    found.settimeout(_ANSWER_WITHIN)
    try:
        found.connect((address, port))
    except BaseException:
        found.close()
        raise
    return found


def _says_so(body: bytes) -> bool:
    """The protocol has `ready` in the answer, too; what is no such answer counts by its status."""
    try:
        found: Any = json.loads(body)
    except ValueError:
        return True
    return not isinstance(found, dict) or found.get("ready", True) not in (False, "false")
