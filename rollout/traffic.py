"""The `traffic:` of a rollout: where clients send to, and how a request finds its variant."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    model_validator,
)

from lockgate.monitoring.units import Bytes, Seconds, seconds_text
from lockgate.rollout.section import Section


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError(f"{value!r} is not a header's name; use letters, digits and '-', like x-user-id")
    return value


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


class HeaderName(Section):
    """A request header."""

    header: Annotated[str, AfterValidator(_header)] = Field(
        description="Name of a request header.", json_schema_extra={"pattern": "^[A-Za-z0-9-]+$"}
    )


class Failover(Section):
    """A request that the candidate fails is answered by stable, and still counted against the candidate."""

    deadline: Seconds = Field(default=2.0, description="The candidate's time for one request before stable answers.")


class Traffic(Section):
    """Where clients send to, and how a request finds its variant."""

    listen: Address = Field(default="127.0.0.1:8080", description="Address and port that clients send to.")
    metrics: Address = Field(
        default="127.0.0.1:9901", description="Address and port of the router's Prometheus metrics."
    )
    sticky: HeaderName = Field(
        default=HeaderName(header="x-user-id"), description="Requests with the same value get the same variant."
    )
    force: HeaderName = Field(
        default=HeaderName(header="x-lockgate-variant"), description="`stable` or `candidate` picks the variant."
    )
    failover: Failover = Field(default=Failover(), description="When stable answers in the candidate's place.")
    timeout: Seconds = Field(default=10.0, description="The whole request, retries included.")
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Larger bodies are refused with 413.")

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        (host, port), (other, same) = self.listen.split(":"), self.metrics.split(":")
        if port == same and (host == other or "0.0.0.0" in {host, other}):  # noqa: S104 - compared, never bound
            raise ValueError(f"metrics: {self.metrics} is taken by listen, {self.listen}; choose another port")
        return self

    @model_validator(mode="after")
    def _two_headers(self) -> Self:
        if self.sticky.header.lower() == self.force.header.lower():
            raise ValueError(f"force.header: {self.force.header!r} is the sticky header too; choose another one")
        return self

    @model_validator(mode="after")
    def _stable_gets_its_turn(self) -> Self:
        if self.failover.deadline >= self.timeout:
            raise ValueError(
                f"failover.deadline: {seconds_text(self.failover.deadline)} leaves stable no time to answer; it must "
                f"be shorter than the traffic's timeout of {seconds_text(self.timeout)}"
            )
        return self
