"""Models, candidates and what was found out about them, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
else:  # a spec is validated without waiting for numpy
    Array = Any
Arrays = dict[str, Array]
"""Named inputs or outputs; the first dimension of each is the row."""

Precision = Literal["fp32", "bf16", "fp16", "int8"]
Device = Literal["cpu", "cuda"]
FULL: Precision = "fp32"


@dataclass(frozen=True, slots=True)
class Input:
    """`shape` begins with the row, mostly -1; a column's is `(-1,)`. Columns are a table's, named and of one value."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    column: bool
    required: bool = True


@dataclass(frozen=True, slots=True)
class About:
    """What is known of a model without loading it."""

    name: str
    """For sentences: `fraud-detector version 3`."""
    digest: str
    flavour: str
    """pytorch, keras, tensorflow, onnx, sklearn, xgboost, lightgbm or pyfunc."""
    storage: str
    """How `file` is read: pt2, pickle, skops, cloudpickle, onnx, keras, ..."""
    file: Path
    """Of the model as it was logged; a folder for a SavedModel."""
    inputs: tuple[Input, ...]
    example: Arrays


@dataclass(frozen=True, slots=True)
class Model:
    """The model as its author logged it, in memory. `run` is the truth that parity is measured against.

    `native` is the flavour's own object: a torch module, a Keras model, an estimator, an ONNX ModelProto.
    """

    about: About
    native: Any
    run: Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """One cell of targets x precision."""

    target: str
    precision: Precision = FULL

    def __str__(self) -> str:
        return f"{self.target} {self.precision}"


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far compiled outputs may be from the source model's.

    fp32 is held value by value (`atol * max(1, scale) + rtol * |source|`); lower precisions by `margin`, the largest
    error as a share of the output's scale (its largest absolute value in the sample or the case). Both by
    `min_agreement` of the labels.
    """

    rtol: float = 1e-3
    atol: float = 1e-5
    min_agreement: float = 0.999
    margin: float = 0.05
    rows: int = 256


@dataclass(frozen=True, slots=True)
class Objective:
    """What wins: the smallest `minimize`, over all batch sizes alike (geometric mean), under the constraints."""

    minimize: Literal["latency_p50", "latency_p99", "seconds_per_row", "memory", "load_time", "size"] = "latency_p50"
    batch_sizes: tuple[int, ...] = (1,)
    max_memory: int | None = None
    """Bytes of a fresh process with the artifact loaded and warm."""
    max_load_time: float | None = None
    """Seconds from the start of a fresh process to its first answer."""

    def exceeded(self, memory: int, load_seconds: float) -> str:
        """Which of the constraints, or nothing."""
        if self.max_memory is not None and memory > self.max_memory:
            return f"{memory / 2**20:.0f} MiB of memory, {self.max_memory / 2**20:.0f} MiB is the limit"
        if self.max_load_time is not None and load_seconds > self.max_load_time:
            return f"{load_seconds:.1f} s to load, {self.max_load_time:g} s is the limit"
        return ""


@dataclass(frozen=True, slots=True)
class Limits:
    """Of each compiling or measuring process, with its children."""

    seconds: float = 900.0
    memory: int = 16 * 2**30


@dataclass(frozen=True, slots=True)
class Options:
    candidates: tuple[Candidate, ...]
    device: Device = "cpu"
    tolerance: Tolerance = Tolerance()
    objective: Objective = Objective()
    limits: Limits = Limits()
    max_batch: int = 64
    """Largest batch that the service makes; parity is tried there."""
    threads: int = 1
    """Of the engine's call in one replica."""
    most_threads: int = 1
    """More than `threads`: the winner is also tried with twice as many, again and again, up to these."""
    thorough: bool = False
    """Compile everything and measure it to the end, also what cannot win."""
    also_measure: tuple[int, ...] = ()
    """Further batch sizes for the table; they do not decide."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a compiler is told beside the model. `calibration` are rows like those that the model will see."""

    precision: Precision
    device: Device
    max_batch: int
    threads: int
    calibration: Arrays
    shared: Path
    """A folder for what several candidates of this model begin with (an exported graph): see `source.once`."""
    margin: float = 0.05
    """As in `Tolerance`: what a choice between two ways to a lower precision is held to."""


@dataclass(frozen=True, slots=True)
class Head:
    """One output compared over all cases. `relative_error` is the largest error as a share of the output's scale."""

    name: str
    max_abs_error: float
    mean_abs_error: float
    relative_error: float
    agreement: float
    """Share of rows with the same label; 1.0 for an output that names none."""


@dataclass(frozen=True, slots=True)
class ParityEvidence:
    """How far the compiled outputs are from the source model's, over every case that was tried."""

    rows: int
    max_abs_error: float
    mean_abs_error: float
    agreement: float
    worst_output: str
    """The output head with the largest error."""
    passed: bool
    reason: str = ""
    """Why it did not pass: a sentence with the largest difference."""
    relative_error: float = 0.0
    heads: tuple[Head, ...] = ()
    cases: tuple[str, ...] = ()
    """What was tried: `example`, `sample`, `a batch of 1`, `strided input`, `zeros` ..."""
    worst: Mapping[str, Any] = field(default_factory=dict)
    """The worst row: `case`, `row`, `output`, `inputs` (up to 32 values of each), `source`, `compiled`."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one batch size, in seconds for one call; `rounds` interleaved with the other candidates' calls."""

    batch: int
    p50: float
    p99: float
    rounds: int
    calls: int

    @property
    def rows_per_second(self) -> float:
        return self.batch / self.p50


@dataclass(frozen=True, slots=True)
class Row:
    """What became of one candidate: one line of the table."""

    candidate: Candidate
    outcome: Literal["chosen", "kept", "slower", "over a limit", "refused", "lost", "skipped"]
    """`slower`: given up before the end of measuring. `lost`: crashed, hung or ate its memory. `skipped`: not tried."""
    reason: str = ""
    digest: str = ""
    cached: bool = False
    compile_seconds: float = 0.0
    parity: ParityEvidence | None = None
    timings: tuple[Timing, ...] = ()
    memory: int = 0
    """Bytes resident in a fresh process that holds the warm artifact."""
    load_seconds: float = 0.0
    """From the start of a fresh process to its first answer."""
    size: int = 0
    """Bytes of the artifact's files."""
    threads: int = 1
    """Of a call, with which it was proven and measured."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """One compiled model on disk: `path/manifest.json` beside the target's files."""

    path: Path
    candidate: Candidate
    digest: str
    """sha256 of the artifact's files."""
    parity: ParityEvidence
    manifest: Mapping[str, Any]

    @property
    def target(self) -> str:
        return self.candidate.target


@dataclass(frozen=True, slots=True)
class Search:
    """Every candidate's row, and what won. `fallback` is the next proven artifact that any machine may load."""

    rows: tuple[Row, ...]
    chosen: Artifact | None
    fallback: Artifact | None
    reference: Path
    """The source's own answers: `cases.npz`, to prove an artifact again elsewhere."""
    fingerprint: Mapping[str, Any]
    seconds: float
