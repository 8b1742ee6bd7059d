"""Asks Prometheus for one value, or for one of each variant."""

from __future__ import annotations

import json
import logging
import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from lockgate.monitoring.measurement import Reading

_NAMES = re.compile(r"\$(variant|model|version|name)\b")
_UNSAFE = re.compile(r"[\\\"'`\x00-\x1f\x7f]")
_LONGEST = 2**20
_SAID = 300
_PATH = "/api/v1/query"
_T = TypeVar("_T")


def fill(query: str, values: Mapping[str, str]) -> str:
    r"""`$variant`, `$model`, `$version` and `$name`, where `values` has them; any other `$` stays.

    They are meant for strings: what would end one is written as `\x27`, which PromQL reads as the character itself in
    single and in double quotes. For a regular expression they are not escaped.
    """

    def value(match: re.Match[str]) -> str:
        name = match[1]
        return _UNSAFE.sub(lambda c: f"\\x{ord(c[0]):02x}", values[name]) if name in values else match[0]

    return _NAMES.sub(value, query)


@dataclass(frozen=True, slots=True)
class Readings:
    """One measurement of a query that answers several series: the value of each by a label, or why there are none."""

    values: Mapping[str, float] = field(default_factory=dict)
    error: str = ""


class _Unsaid(logging.Filter):
    """Httpx logs whole addresses, at INFO."""

    def filter(self, record: logging.LogRecord) -> bool:
        return _PATH not in record.getMessage()


_UNSAID = _Unsaid()


class Prometheus:
    """At `url`, which may hold a user and a password: no sentence and no log repeats them.

    `timeout`: of a whole answer.
    """

    def __init__(self, url: str, timeout: float = 2.0) -> None:
        self._url = url.rstrip("/")
        self._timeout = timeout
        self._client: httpx.Client | None = None

    def read(self, query: str) -> Reading:
        """What the query says now. Never raises: `error` says why there is no value.

        No result and NaN are None. Infinities become the largest float, which JSON can hold.
        """
        try:
            return self._told(lambda: _reading(self._answer(query)))
        except _NoValue as reason:
            return Reading(error=str(reason))

    def read_by(self, query: str, label: str, at: float) -> Readings:
        """The value of each series by its `label`, at `at` in unix seconds. Never raises, as `read`.

        NaN and infinities stay.
        """
        try:
            return self._told(lambda: Readings(_by_label(self._answer(query, at), label)))
        except _NoValue as reason:
            return Readings(error=str(reason))

    def _told(self, asked: Callable[[], _T]) -> _T:
        """Whatever goes wrong as `_NoValue`."""
        try:
            return asked()
        except httpx.TimeoutException as reason:
            raise _NoValue(self._late()) from reason
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as reason:
            what = self._clean(str(reason)) or type(reason).__name__
            raise _NoValue(f"Prometheus at {self._place()} cannot be asked: {what}") from reason

    def _answer(self, query: str, at: float | None = None) -> Any:
        """The field `data` of Prometheus's answer, of now by default."""
        whole = httpx.URL(self._url)
        if self._client is None:
            logging.getLogger("httpx").addFilter(_UNSAID)
            auth = (whole.username, whole.password) if whole.userinfo else None
            # A connection for each query: there are few, and none is left open.
            limits = httpx.Limits(max_keepalive_connections=0)
            self._client = httpx.Client(auth=auth, timeout=self._timeout, limits=limits)
        asked = {"query": query, "timeout": f"{math.ceil(self._timeout * 1000)}ms"}
        if at is not None:
            asked["time"] = f"{at:.3f}"
        address = f"{whole.copy_with(userinfo=b'')}".rstrip("/") + _PATH
        with self._client.stream("GET", address, params=asked) as response:
            body = self._body(response)
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        if isinstance(answer, dict) and answer.get("status") == "success" and response.is_success:
            return answer.get("data")
        said = answer.get("error") if isinstance(answer, dict) else None
        if said:
            raise _NoValue(f"Prometheus refuses the query: {self._clean(str(said))}")
        raise _NoValue(f"{self._place()} answers {response.status_code}, not as Prometheus does; see the address")

    def _body(self, response: httpx.Response) -> bytes:
        """The time limit is for all of it; that of httpx is for each piece."""
        end = time.monotonic() + self._timeout
        found = b""
        for piece in response.iter_bytes():
            found += piece
            if len(found) > _LONGEST:
                raise _NoValue("the query answers more than 1 MiB; aggregate it to one value, for example with sum(…)")
            if time.monotonic() > end:
                raise _NoValue(self._late())
        return found

    def _late(self) -> str:
        return f"Prometheus at {self._place()} did not answer within {self._timeout:g} s"

    def _place(self) -> str:
        """Scheme, host and port: a path or parameters may hold a token."""
        try:
            url = httpx.URL(self._url)
        except httpx.InvalidURL:
            return "its address"
        return f"{url.scheme}://{url.netloc.decode('ascii', 'replace')}"

    def _clean(self, text: str) -> str:
        """Nothing of the address but its place."""
        for known in (self._url, re.sub(r"//[^/@]*@", "//", self._url)):
            text = text.replace(known, self._place())
        return re.sub(r"//[^/@\s]*@", "//", text)[:_SAID]


class _NoValue(Exception):
    """A sentence."""


def _reading(data: Any) -> Reading:
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            return _value(result)
        if kind != "vector":
            raise _NoValue(
                f"the query answers a {kind}; it needs one value, so let a function like rate() take the range"
            )
        if len(result) > 1:
            raise _NoValue(f"the query answers {len(result)} series; aggregate them to one, for example with sum(…)")
        return _value(result[0]["value"]) if result else Reading()
    except (KeyError, TypeError, IndexError, ValueError) as reason:
        raise _NoValue("the answer is not one that Prometheus gives; see the address") from reason


def _by_label(data: Any, label: str) -> dict[str, float]:
    found: dict[str, float] = {}
    try:
        if data["resultType"] != "vector":
            raise _NoValue(f"the query answers a {data['resultType']}; it needs a series for each {label}")
        for series in data["result"]:
            name, value = series["metric"].get(label), float(series["value"][1])
            if not name:
                raise _NoValue(f"a series has no label {label}; ask with sum by ({label}) (…)")
            if name in found:
                raise _NoValue(f"several series have the {label} {name}; ask with sum by ({label}) (…)")
            found[name] = value
    except (KeyError, TypeError, IndexError, ValueError, AttributeError) as reason:
        raise _NoValue("the answer is not one that Prometheus gives; see the address") from reason
    return found


def _value(sample: Any) -> Reading:
    value = float(sample[1])
    if math.isnan(value):
        return Reading()
    return Reading(max(-sys.float_info.max, min(sys.float_info.max, value)))
