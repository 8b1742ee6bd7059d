"""What labels say of the answers of one version, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Measure = Literal["accuracy", "log_loss", "mae", "rmse"]
FOUND = "performance.json"
"""In a pipeline's folder: what the last look found."""
LEAST = 200
"""Labelled requests: with fewer there is no verdict."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is compared. `output`: of the model; its first one where it is empty. `margin`: of the baseline, as a share.

    `window`: the latest requests with a label.
    """

    label: str
    measure: Measure
    output: str
    margin: float
    window: int


@dataclass(frozen=True, slots=True)
class Baseline:
    """`value`: of the measure. `at_worst`: what it may be as well, as it was found in few rows; None where it is given.

    What is *large* is told by the value, and what is *proven* by what it may be.
    """

    value: float
    at_worst: float | None = None

    @property
    def doubtless(self) -> float:
        return self.value if self.at_worst is None else self.at_worst


@dataclass(frozen=True, slots=True, eq=False)
class Labelled:
    """The latest requests of a version whose labels came, in the order in which these came: (n,) each.

    `losses`: of a request, the mean of its labelled rows. `at`: when it was answered, in unix seconds. `lag`: seconds
    until its label came. `coverage`: of the requests that were answered from the first of these to the last one, the
    share that has a label. `received`: when the latest label came. `output`: whose predictions they are.
    """

    losses: NDArray[np.float64]
    at: NDArray[np.float64]
    lag: NDArray[np.float64]
    coverage: float = 0.0
    received: float = 0.0
    output: str = ""
    notes: tuple[str, ...] = ()
    why: str = ""
    """That there are none, and why: a sentence."""


NONE = np.zeros(0)


@dataclass(frozen=True, slots=True)
class Performance:
    """`value`: of the whole window, and `recent`: of the requests since `since` (unix seconds), where it says most.

    `at_worst`: of the baseline, see there; the proof is against it. `proof`, `proven_from`: natural logarithms of the
    evidence that it became worse, and of what that has to reach. `lag`: seconds until half of the labels had come.
    `says`: one sentence about all.
    """

    measure: Measure
    label: str
    drifting: bool
    undecided: bool
    says: str
    labelled: int = 0
    coverage: float = 0.0
    lag: float = 0.0
    received: float = 0.0
    output: str = ""
    value: float | None = None
    baseline: float | None = None
    at_worst: float | None = None
    limit: float | None = None
    recent: float | None = None
    recent_labelled: int = 0
    since: float = 0.0
    proof: float = 0.0
    proven_from: float = 0.0
    version: str = ""
    notes: tuple[str, ...] = field(default=())
