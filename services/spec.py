"""The `service:` section: how a model version becomes a served bento."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lockgate.monitoring.units import Bytes, Seconds, Share, seconds_text

TargetName = Literal["onnxruntime", "eager"]


class _Section(BaseModel):
    """A check across fields starts its sentence with the field that is to blame: `field.below: sentence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Section):
    """How far compiled outputs may be from the source model's."""

    rtol: float = Field(default=1e-3, ge=0, description="Relative tolerance of each output value.")
    atol: float = Field(default=1e-5, ge=0, description="Absolute tolerance of each output value.")
    min_agreement: Share = Field(default=0.999, description="Least share of rows with the same label.")
    rows: int = Field(default=256, ge=1, le=100_000, description="Rows of the calibration sample.")


def _distinct(targets: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({t for t in targets if targets.count(t) > 1}):
        raise ValueError(f"named twice: {', '.join(repeated)}; a target is tried once, so name it once")
    return targets


class Compile(_Section):
    """Targets in the order of preference: the first one that the model supports and that keeps parity is served."""

    targets: Annotated[tuple[TargetName, ...], Field(min_length=1), AfterValidator(_distinct)] = Field(
        default=("onnxruntime", "eager"),
        description="In the order of preference.",
        json_schema_extra={"uniqueItems": True},
    )
    parity: Parity = Field(default=Parity(), description="What keeps parity.")


class Batching(_Section):
    """Requests that wait for the engine are answered in one call."""

    max_batch_size: int = Field(default=64, ge=1, le=65_536, description="Rows in one engine call, at most.")
    max_latency: Seconds | None = Field(
        default=None, description="Wait this long for more rows; left out, a lone request never waits."
    )


class Replicas(_Section):
    """How many processes serve each variant."""

    min: int = Field(default=1, ge=1, le=64, description="Replicas of each variant that are kept running.")


class ServiceSpec(_Section):
    """How a model version is compiled, packaged and served."""

    compile: Compile = Field(default=Compile(), description="What the model is compiled to.")
    batching: Batching = Field(default=Batching(), description="How requests are grouped for the engine.")
    replicas: Replicas = Field(default=Replicas(), description="How many processes serve each variant.")
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Largest request body that is answered.")
    timeout: Seconds = Field(default=10.0, description="A request that takes longer is answered with 504.")
    ready_within: Seconds = Field(default=120.0, description="A replica that is not ready by then is given up.")

    @model_validator(mode="after")
    def _outlasts_the_wait(self) -> Self:
        latency = self.batching.max_latency
        if latency and latency >= self.timeout:
            raise ValueError(
                f"batching.max_latency: a lone request would wait {seconds_text(latency)} for more rows, "
                f"but it is given up after the service's timeout of {seconds_text(self.timeout)}"
            )
        return self
