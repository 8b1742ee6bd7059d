"""The `traffic:` of a rollout: where clients send to, and how a request finds its variant."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    WithJsonSchema,
    model_validator,
)

from lockgate.monitoring.units import Bytes, Seconds, seconds_text
from lockgate.rollout.protection import Clients, Force, HeaderName, Limits, Tls
from lockgate.rollout.section import Section

__all__ = ["Failover", "HeaderName", "Traffic"]


def _address(value: object) -> str:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) > _LAST_PORT:
        raise ValueError("needs an address and a port from 1 to 65535, like 127.0.0.1:8080")
    try:
        IPv4Address(host)
    except ValueError:
        raise ValueError(f"{value!r} needs an IPv4 address before the port, like 127.0.0.1:8080") from None
    return str(value)


_LAST_PORT = 65_535
Address = Annotated[
    str,
    BeforeValidator(_address),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]{1,3}(\.[0-9]{1,3}){3}:[1-9][0-9]{0,4}$"}),
]


def _methods(value: object) -> object:
    if value == "all":
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"{value!r} is no list of HTTP methods; write them like [GET, HEAD], or `all`")
    for one in value:
        if not isinstance(one, str) or not re.fullmatch(_METHOD, one):
            raise ValueError(f"{one!r} is not an HTTP method; write it in capitals, like GET")
    if len(set(value)) < len(value):
        raise ValueError("a method is listed twice; leave one out")
    return tuple(value)


_METHOD = r"[A-Z]{1,20}"
_ONLY_OURS = ("x-lockgate-client", "x-lockgate-shadow")
"""Headers that a client cannot set."""
Methods = Annotated[
    Literal["all"] | tuple[str, ...],
    BeforeValidator(_methods),
    WithJsonSchema(
        {"anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string", "pattern": f"^{_METHOD}$"}}]}
    ),
]


class Failover(Section):
    """A request that the candidate fails is answered by stable, and still counted against the candidate."""

    deadline: Seconds = Field(default=2.0, description="The candidate's time for one request before stable answers.")
    methods: Methods = Field(
        default="all",
        description=(
            "Requests with these HTTP methods are answered again by stable; of another method none is sent a second"
            " time, and the client sees the candidate's failure. See docs/failover.md."
        ),
    )


class Traffic(Section):
    """Where clients send to, and how a request finds its variant."""

    listen: Address = Field(default="127.0.0.1:8080", description="Address and port that clients send to.")
    metrics: Address = Field(
        default="127.0.0.1:9901", description="Address and port of the router's Prometheus metrics."
    )
    sticky: HeaderName = Field(
        default=HeaderName(header="x-user-id"), description="Requests with the same value get the same variant."
    )
    force: Force = Field(
        default=Force(header="x-lockgate-variant"), description="`stable` or `candidate` picks the variant."
    )
    failover: Failover = Field(default=Failover(), description="When stable answers in the candidate's place.")
    timeout: Seconds = Field(default=10.0, description="The whole request, retries included.")
    receive_timeout: Seconds = Field(
        default=60.0, le=3600, description="A client's time to send one request; a slower one gets a 408."
    )
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Larger bodies are refused with 413.")
    tls: Tls | None = Field(default=None, description="HTTPS instead of HTTP.")
    clients: Clients | None = Field(default=None, description="Only who sends a known key is answered.")
    limits: Limits | None = Field(default=None, description="More requests than these are refused with 429.")

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        (host, port), (other, same) = self.listen.split(":"), self.metrics.split(":")
        if port == same and (host == other or "0.0.0.0" in {host, other}):  # noqa: S104 - compared, never bound
            raise ValueError(f"metrics: {self.metrics} is taken by listen, {self.listen}; choose another port")
        return self

    @model_validator(mode="after")
    def _two_headers(self) -> Self:
        for field, of in (("sticky", self.sticky), ("force", self.force)):
            if of.header.lower() in _ONLY_OURS:
                raise ValueError(
                    f"{field}.header: {of.header!r} is set by the router, whatever a client sends; choose another one"
                )
        if self.sticky.header.lower() == self.force.header.lower():
            raise ValueError(f"force.header: {self.force.header!r} is the sticky header too; choose another one")
        return self

    @model_validator(mode="after")
    def _known_clients(self) -> Self:
        if self.clients:
            if odd := self.clients.odd():
                raise ValueError(f"clients.{odd}")
            if self.clients.header.lower() in (self.sticky.header.lower(), self.force.header.lower()):
                raise ValueError(
                    f"clients.header: {self.clients.header!r} is another header of the traffic; choose one"
                )
        elif self.limits and self.limits.each == "client":
            raise ValueError("limits.each: nobody is known by a key; name the keys in `clients`, or limit each address")
        known = self.clients.keys if self.clients else {}
        for name in self.force.clients:
            if name not in known:
                raise ValueError(f"force.clients: {name!r} is not in clients.keys; name a client that is")
        return self

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.listen}"

    @model_validator(mode="after")
    def _stable_gets_its_turn(self) -> Self:
        if self.failover.deadline >= self.timeout:
            raise ValueError(
                f"failover.deadline: {seconds_text(self.failover.deadline)} leaves stable no time to answer; it must "
                f"be shorter than the traffic's timeout of {seconds_text(self.timeout)}"
            )
        return self
