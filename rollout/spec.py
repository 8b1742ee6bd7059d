"""The `rollout:` section: who gets the traffic, step by step, and what must hold at each."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyAddress, field_validator, model_validator

from lockgate.monitoring.units import Bytes, Margin, Percent, Seconds, Share


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HeaderName(_Section):
    header: str = Field(pattern=r"^[A-Za-z0-9-]+$", description="Name of a request header.")


class Failover(_Section):
    """A request that the candidate fails is answered by stable, and still counted against the candidate."""

    deadline: Seconds = Field(default=2.0, description="The candidate's time for one request before stable answers.")


class Traffic(_Section):
    listen: str = Field(default="127.0.0.1:8080", description="Address and port that clients send to.")
    metrics: str = Field(default="127.0.0.1:9901", description="Address and port of the router's Prometheus metrics.")
    sticky: HeaderName = Field(
        default=HeaderName(header="x-user-id"), description="Requests with the same value get the same variant."
    )
    force: HeaderName = Field(
        default=HeaderName(header="x-lockgate-variant"), description="`stable` or `candidate` picks the variant."
    )
    failover: Failover = Failover()
    timeout: Seconds = Field(default=10.0, description="The whole request, retries included.")
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Larger bodies are refused with 413.")

    @field_validator("listen", "metrics")
    @classmethod
    def _address(cls, value: str) -> str:
        host, _, port = value.rpartition(":")
        if not port.isdigit() or not 0 < int(port) < 65_536:
            raise ValueError(f"{value!r} needs a port from 1 to 65535, like 127.0.0.1:8080")
        try:
            IPvAnyAddress(host)  # type: ignore[operator]
        except ValueError:
            raise ValueError(f"{value!r} needs an IPv4 address before the port, like 127.0.0.1:8080") from None
        return value

    @model_validator(mode="after")
    def _two_ports(self) -> Self:
        if self.listen == self.metrics:
            raise ValueError(f"listen and metrics are both {self.listen}; give them different ports")
        return self


class Hold(_Section):
    """The least that a step lasts."""

    min_requests: int = Field(default=100, ge=1, description="Requests that the candidate must have answered.")
    duration: Seconds | None = Field(default=None, description="And this long.")


class _Step(_Section):
    hold: Hold = Hold()
    until: Literal["decided", "held"] = Field(
        default="decided",
        description="`decided`: every gate must pass. `held`: going on needs only that no gate fails.",
    )
    timeout: Seconds = Field(default=3600.0, description="A step that has not ended by then ends as on_timeout says.")
    on_timeout: Literal["rollback", "hold"] = Field(
        default="rollback", description="`rollback`, or `hold` and wait for a person's `promote` or `abort`."
    )


class Shadow(_Step):
    """A copy of live requests goes to the candidate; its answers are thrown away."""

    percent: Percent = Field(default=100.0, description="Share of live requests that are copied.")


class Canary(_Step):
    """Live requests are answered by the candidate."""

    weight: Percent = Field(lt=100, description="Share of live requests that the candidate answers.")


class ShadowStep(_Section):
    shadow: Shadow


class CanaryStep(_Section):
    canary: Canary


class ErrorRate(_Section):
    """Fails when the candidate's share of failed requests exceeds stable's by more than the margin."""

    metric: Literal["error_rate"]
    margin: Share = Field(default=0.005, description="Tolerated harm, as a difference of shares.")


class Latency(_Section):
    """Fails when the candidate's quantile exceeds stable's by more than the margin."""

    metric: Literal["latency"]
    quantile: float = Field(default=0.99, gt=0, lt=1)
    margin: Margin = Field(default=0.2, description="Tolerated harm, relative to stable's quantile.")
    slack: Seconds = Field(default=0.002, description="And this much, for models that answer in a few milliseconds.")


Gate = Annotated[ErrorRate | Latency, Field(discriminator="metric")]
Step = ShadowStep | CanaryStep

PROFILES = {"fast": 0.05, "default": 0.05, "strict": 0.01}


class RolloutSpec(_Section):
    traffic: Traffic = Traffic()
    steps: tuple[Step, ...] = Field(min_length=1)
    gates: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Gate] = Field(min_length=1)
    profile: Literal["fast", "default", "strict"] = "default"

    @field_validator("steps")
    @classmethod
    def _rising(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        """Weights rise, so that no user is moved back from candidate to stable by a step."""
        weights = [s.canary.weight for s in steps if isinstance(s, CanaryStep)]
        for before, after in pairwise(weights):
            if after <= before:
                raise ValueError(f"canary weights must rise from step to step; {after:g} follows {before:g}")
        return steps
