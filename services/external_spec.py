"""The section `service.external:`: the versions are served by somebody else, and only traffic is ours."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

_VERSION, _NAME = "{version}", "{name}"
_HOST = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?\.?"
_PORTS = range(1, 65_536)
_TRIED = "1"
"""A version's number that a template is tried with, before any is known."""
_NOT_HERE = "a version that is served elsewhere (external)"
NOT_OURS = {
    "compile": f"nothing is compiled of {_NOT_HERE}; leave this out",
    "batching": f"the server groups the requests of {_NOT_HERE}; set it there",
    "resources": f"{_NOT_HERE} takes nothing of this machine; leave this out",
    "max_body": f"the server limits the bodies of {_NOT_HERE}; the router's limit is rollout.traffic.max_body",
    "timeout": f"the server has a time limit of its own for {_NOT_HERE}; the router's is rollout.traffic.timeout",
}
"""Fields of `service` that would change nothing beside `external`, and why."""


def _listed(value: object) -> object:
    """One place stands for a list of it."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_PLACE = {"type": "string", "pattern": r"\{version\}"}
Places = Annotated[
    tuple[str, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_PLACE, {"type": "array", "items": _PLACE, "minItems": 1}]}),
]


class External(BaseModel):
    """Each version is served elsewhere: nothing is compiled, packaged or started, and nothing is proven of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    endpoints: Places = Field(
        description=(
            "Where a version is served: HOST:PORT, several for several replicas. `{version}` stands for its number in"
            " the registry. A name that has several addresses is that many replicas."
        )
    )
    name: str | None = Field(
        default=None, min_length=1, description="What that server calls the model; `model.name` by default."
    )
    ready: str = Field(
        default="/v2/models/{name}/ready",
        description=(
            "Path that is asked whether it is ready: 200 means yes. The default is Open Inference Protocol's (v2);"
            " `{name}` and `{version}` are filled in."
        ),
    )

    @model_validator(mode="after")
    def _written_well(self) -> Self:
        if not self.endpoints:
            raise ValueError("endpoints: names no place; write one like fraud-v{version}.internal:8000")
        for place in self.endpoints:
            if why := _wrong(place):
                raise ValueError(f"endpoints: {place!r} {why}")
        if len(set(self.endpoints)) < len(self.endpoints):
            raise ValueError("endpoints: names a place twice; each is a replica of its own")
        if not re.fullmatch(r"/[!-~]*", self.ready) or (odd := _odd(self.ready, _NAME, _VERSION)):
            said = f"does not know {odd}" if self.ready.startswith("/") and "{" in self.ready else "is no path"
            raise ValueError(f"ready: {self.ready!r} {said}; write one like /v2/models/{{name}}/ready, or /health")
        return self

    def at(self, version: str) -> tuple[str, ...]:
        """HOST:PORT of each of its replicas. Raises `ValueError` where a number makes no port."""
        places = tuple(place.replace(_VERSION, version) for place in self.endpoints)
        for place in places:
            if why := _no_address(place):
                raise ValueError(f"version {version} would be served at {place}, which {why}")
        return places

    def path(self, model: str, version: str) -> str:
        """That is asked whether it is ready."""
        return self.ready.replace(_NAME, self.name or model).replace(_VERSION, version)


def _odd(text: str, *known: str) -> str:
    """A placeholder that nobody fills in."""
    return next((found for found in re.findall(r"\{[^}]*\}?", text) if found not in known), "")


def _wrong(place: str) -> str:
    """Why a template is none, as the end of a sentence; or nothing."""
    if "://" in place:
        return "is more than HOST:PORT; leave out what comes before //: requests go there as plain HTTP"
    if odd := _odd(place, _VERSION):
        return f"does not know {odd}; only {_VERSION} is filled in"
    if _VERSION not in place:
        return f"would be the place of every version; write {_VERSION} where the version's number stands in it"
    return _no_address(place.replace(_VERSION, _TRIED))


def _no_address(place: str) -> str:
    host, port = split(place)
    if not host or not port.isascii() or not port.isdecimal() or int(port) not in _PORTS:
        return f"is not HOST:PORT with a port from 1 to {_PORTS[-1]}; write one like fraud-v{_VERSION}.internal:8000"
    if not re.fullmatch(_HOST, host) and not _is_address(host):
        return f"is not HOST:PORT: {host!r} is neither a name nor an address"
    return ""


def split(place: str) -> tuple[str, str]:
    """Host and port; an IPv6 address stands in brackets, which are taken away."""
    host, _, port = place.rpartition(":")
    return (host[1:-1] if host.startswith("[") and host.endswith("]") else host), port


def _is_address(host: Any) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
