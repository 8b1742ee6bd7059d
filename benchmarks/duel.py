"""Artifacts timed in turn, as fresh replicas: what two runs of a search at different hours cannot tell."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lockgate.services.compile.prober import probe
from lockgate.services.compile.words import Candidate, Options

ROUNDS, SLICE = 5, 0.25
"""How often each is timed at each batch size, and for how many seconds; one call takes longer with large models."""


@dataclass(frozen=True, slots=True)
class Duel:
    """`rounds`: of each candidate and batch size, the median seconds of a call in each round."""

    rounds: Mapping[tuple[Candidate, int], Sequence[float]]

    def ratio(self, of: Candidate, over: Candidate, batches: Sequence[int]) -> float:
        """How many times as long one takes as the other, over all batch sizes alike: the median over the rounds."""
        if of == over:
            return 1.0
        logs = []
        for batch in batches:
            pairs = zip(self.rounds[of, batch], self.rounds[over, batch], strict=True)
            logs.append(math.log(statistics.median(a / b for a, b in pairs)))
        return math.exp(statistics.fmean(logs))

    def seconds(self, of: Candidate, batch: int) -> float:
        return statistics.median(self.rounds[of, batch])


def duel(places: Mapping[Candidate, Path], answers: Path, options: Options) -> Duel:
    """`places`: the folders of their artifacts; they have kept parity already. Raises `Lost` when one ends."""
    batches = options.objective.batch_sizes
    rounds: dict[tuple[Candidate, int], list[float]] = {(c, b): [] for b in batches for c in places}
    with ExitStack() as stack:
        probes = {
            candidate: stack.enter_context(
                probe(folder, answers, folder.parent / "duel.log", options.limits, options.threads)
            )
            for candidate, folder in places.items()
        }
        for _ in range(ROUNDS):
            for batch in batches:
                for candidate, prober in probes.items():
                    rounds[candidate, batch].append(statistics.median(prober.time(batch, SLICE, 1)))
    return Duel(rounds)
