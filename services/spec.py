"""The `service:` section: how a model version becomes a served bento."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from lockgate.monitoring.units import Bytes, Seconds, Share, seconds_text
from lockgate.services.compile import words
from lockgate.services.compile.fingerprint import gpus
from lockgate.services.compile.words import Candidate, Limits, Options, Tolerance
from lockgate.services.external_spec import NOT_OURS, External
from lockgate.services.serving.threads import cores, owner

TargetName = Literal[
    "eager",
    "torchscript",
    "onnxruntime",
    "openvino",
    "savedmodel",
    "xla",
    "keras-tensorflow",
    "keras-torch",
    "tensorrt",
    "torch-tensorrt",
    "aotinductor",
    "torch-compile",
]


_CPU_ONLY = ("sklearn", "xgboost", "lightgbm", "pyfunc")


class _Section(BaseModel):
    """A check across fields starts its sentence with the field that is to blame: `field.below: sentence`."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Parity(_Section):
    """How far compiled outputs may be from the source model's."""

    rtol: float = Field(default=1e-3, ge=0, description="Relative tolerance of each output value, at fp32.")
    atol: float = Field(
        default=1e-5, ge=0, description="Absolute tolerance of each value; it grows with outputs larger than 1."
    )
    min_agreement: Share = Field(default=0.999, description="Least share of rows with the same label.")
    margin: Share = Field(
        default=0.05,
        description="Largest error of fp16, bf16 and int8, as a share of the output's largest absolute value.",
    )
    rows: int = Field(default=256, ge=1, le=100_000, description="Rows of the calibration sample.")


def _listed(value: object) -> object:
    """One number stands for a list of it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


_ROWS = {"type": "integer", "minimum": 1}
BatchSizes = Annotated[
    tuple[int, ...],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_ROWS, {"type": "array", "items": _ROWS, "minItems": 1}]}),
]


class Objective(_Section):
    """What the winner has least of, and what it must not exceed."""

    minimize: Literal["latency_p50", "latency_p99", "seconds_per_row", "memory", "load_time", "size"] = Field(
        default="latency_p50", description="Figure that decides; `seconds_per_row` is throughput."
    )
    batch_size: BatchSizes = Field(
        default=(1,), description="Rows of a call that is measured; several are weighed alike (geometric mean)."
    )
    max_memory: Bytes | None = Field(default=None, description="Of a fresh process with the warm artifact.")
    max_load_time: Seconds | None = Field(default=None, description="From a process's start to its first answer.")

    @model_validator(mode="after")
    def _has_rows(self) -> Self:
        if not self.batch_size or min(self.batch_size) < 1:
            raise ValueError("batch_size: a call has at least one row; write 1, or a list like [1, 8, 32]")
        return self


class CompileLimits(_Section):
    """Of each compiling or measuring process; one that exceeds them loses only its own candidate."""

    time: Seconds = Field(default=900.0, description="A compiler that takes longer is ended.")
    memory: Bytes = Field(default=16 * 2**30, le=2**44, description="Resident in the process and its children.")


def _distinct(named: tuple[str, ...]) -> tuple[str, ...]:
    if repeated := sorted({t for t in named if named.count(t) > 1}):
        raise ValueError(f"named twice: {', '.join(repeated)}; each is tried once, so name it once")
    return named


class Compile(_Section):
    """Candidates are targets x precision: each is compiled, proven and measured; the best with parity is served."""

    targets: Annotated[tuple[TargetName, ...], Field(min_length=1), AfterValidator(_distinct)] = Field(
        default=("onnxruntime", "eager"),
        description="What the model is compiled to; what this machine cannot run is skipped and said so.",
        json_schema_extra={"uniqueItems": True},
    )
    precision: Annotated[
        tuple[Literal["fp32", "bf16", "fp16", "int8"], ...], Field(min_length=1), AfterValidator(_distinct)
    ] = Field(
        default=("fp32",),
        description="Precisions of each target; below fp32, `parity.margin` and `min_agreement` judge.",
        json_schema_extra={"uniqueItems": True},
    )
    objective: Objective = Field(default=Objective(), description="What the winner has least of.")
    parity: Parity = Field(default=Parity(), description="What keeps parity.")
    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="`auto`: cuda where there is a GPU.")
    limits: CompileLimits = Field(default=CompileLimits(), description="Of each process.")


class Batching(_Section):
    """Requests that wait for the engine are answered in one call."""

    max_batch_size: int = Field(default=64, ge=1, le=65_536, description="Rows in one engine call, at most.")
    max_latency: Seconds | None = Field(
        default=None, description="Wait this long for more rows; left out, a lone request never waits."
    )


class Replicas(_Section):
    """How many processes serve each variant."""

    min: int = Field(default=1, ge=1, le=64, description="Replicas of each variant that are kept running.")


def _counted(value: object) -> object:
    """One sentence, where pydantic says for each of the forms why it is not that one."""
    if value != "auto" and (type(value) is not int or not 1 <= value <= _MOST_THREADS):
        raise ValueError(f"write auto, or how many threads a call has: a whole number from 1 to {_MOST_THREADS}")
    return value


_MOST_THREADS = 512
_COUNT = {"type": "integer", "minimum": 1, "maximum": _MOST_THREADS}
Threads = Annotated[
    int | Literal["auto"], BeforeValidator(_counted), WithJsonSchema({"anyOf": [{"const": "auto"}, _COUNT]})
]


class Resources(_Section):
    """What one replica may take of the machine."""

    threads: Threads = Field(
        default="auto",
        description=(
            "Of an engine's call. `auto`: as many as the search finds to pay, up to the cores shared by the"
            " `replicas.min` replicas of both sides; on a GPU 1."
        ),
    )

    memory: Bytes | None = Field(
        default=None,
        ge=64 * 2**20,
        le=2**44,
        description=(
            "A candidate's replica that takes more is ended, which counts as its death; stable's leave one at a time"
            " while others answer. Left out, there is no limit."
        ),
    )


class ServiceSpec(_Section):
    """How a model version is compiled, packaged and served."""

    compile: Compile = Field(default=Compile(), description="What the model is compiled to.")
    batching: Batching = Field(default=Batching(), description="How requests are grouped for the engine.")
    replicas: Replicas = Field(default=Replicas(), description="How many processes serve each variant.")
    resources: Resources = Field(default=Resources(), description="What one replica may take of the machine.")
    max_body: Bytes = Field(default=16 * 2**20, le=256 * 2**20, description="Largest request body that is answered.")
    timeout: Seconds = Field(default=10.0, description="A request that takes longer is answered with 504.")
    ready_within: Seconds = Field(default=120.0, description="A replica that is not ready by then is given up.")
    external: External | None = Field(
        default=None, description="Where each version is served by somebody else; then nothing is compiled or started."
    )

    def options(self, device: str | None = None, *, flavour: str = "", thorough: bool = False) -> Options:
        """The search that this section asks for; `device` overrides its own.

        `auto` means the CPU for flavours whose targets have nothing for a GPU.
        """
        wanted, on = self.compile, _device(device or self.compile.device, flavour)
        return Options(
            candidates=tuple(Candidate(t, p) for t in wanted.targets for p in wanted.precision),
            device=on,
            tolerance=Tolerance(**wanted.parity.model_dump()),
            objective=words.Objective(
                wanted.objective.minimize,
                wanted.objective.batch_size,
                wanted.objective.max_memory,
                wanted.objective.max_load_time,
            ),
            limits=Limits(wanted.limits.time, wanted.limits.memory),
            max_batch=self.batching.max_batch_size,
            threads=self._threads(),
            most_threads=self._most_threads() if on == "cpu" else self._threads(),
            thorough=thorough,
        )

    def _threads(self) -> int:
        wanted = self.resources.threads
        return owner() or (1 if wanted == "auto" else min(wanted, cores()))

    def _most_threads(self) -> int:
        """That the search may try. During a rollout two models share the machine, and shadowed requests run twice."""
        if owner() or self.resources.threads != "auto":
            return self._threads()
        return max(1, cores() // (2 * self.replicas.min))

    @model_validator(mode="after")
    def _batches_are_made(self) -> Self:
        largest = max(self.compile.objective.batch_size)
        if largest > self.batching.max_batch_size:
            raise ValueError(
                f"compile.objective.batch_size: {largest} rows are never in one call, for batching.max_batch_size is "
                f"{self.batching.max_batch_size}; measure what will be served"
            )
        return self

    @model_validator(mode="after")
    def _outlasts_the_wait(self) -> Self:
        latency = self.batching.max_latency
        if latency and latency >= self.timeout:
            raise ValueError(
                f"batching.max_latency: a lone request would wait {seconds_text(latency)} for more rows, "
                f"but it is given up after the service's timeout of {seconds_text(self.timeout)}"
            )
        return self

    @model_validator(mode="after")
    def _served_by_one(self) -> Self:
        """What is stored has every field in it: only a value of the user's own is a mistake."""
        for name, why in NOT_OURS.items() if self.external else ():
            if getattr(self, name) != type(self).model_fields[name].get_default():
                raise ValueError(f"{name}: {why}")
        return self


def _device(wanted: str, flavour: str) -> words.Device:
    if wanted == "auto":
        return "cuda" if gpus() and flavour not in _CPU_ONLY else "cpu"
    return "cuda" if wanted == "cuda" else "cpu"
