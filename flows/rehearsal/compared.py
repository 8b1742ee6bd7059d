"""Which captured answers differ, request by request, by the rules of the spec's gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.flows.observer import comparison
from lockgate.flows.rehearsal.errors import BadTraffic
from lockgate.monitoring.answers.compare import compare
from lockgate.monitoring.answers.errors import Incomparable
from lockgate.monitoring.answers.records import Records, Role, first_output, gathered, kept_answers, records
from lockgate.rollout.gates import Disagreement

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """All (N,): whether the candidate's answer was compared with stable's, and differs; the same of stable's second."""

    compared: Bools
    differing: Bools
    echoed: Bools
    echoes_differing: Bools


def compared(table: Any, ids: Sequence[str], gates: Mapping[str, Disagreement]) -> dict[str, Compared]:
    """By gate, of the requests with these `ids`. Raises `BadTraffic` where answers cannot be compared."""
    if not gates:
        return {}
    (batch,) = table.combine_chunks().to_batches()
    came = records(batch, *_digests(table))
    if came is None:
        nothing = np.zeros(len(ids), bool)
        return dict.fromkeys(gates, Compared(nothing, nothing, nothing, nothing))
    return {name: _of(came, ids, gate, name) for name, gate in gates.items()}


def _digests(table: Any) -> tuple[str, str]:
    """Of stable and of the candidate: the last ones that answered live requests and copies."""
    last: dict[str, tuple[Any, str]] = {}
    names = ("at", "kind", "digest", "variant")
    for at, kind, digest, variant in zip(*(table.column(name).to_pylist() for name in names), strict=True):
        if kind == "live" and variant not in ("stable", ""):
            continue  # the candidate's own, in a canary
        if digest and at is not None and (kind not in last or last[kind][0] <= at):
            last[kind] = at, digest
    return last["live"][1] if "live" in last else "", last["shadow"][1] if "shadow" in last else ""


def _of(came: Records, ids: Sequence[str], gate: Disagreement, name: str) -> Compared:
    try:
        mine = _differing(came, ids, Role.CANDIDATE, gate)
        echo = _differing(came, ids, Role.ECHO, gate)
    except Incomparable as reason:
        raise BadTraffic(f"gates.{name}: the captured answers cannot be compared: {reason}") from None
    return Compared(*mine, *echo)


def _differing(came: Records, ids: Sequence[str], role: Role, gate: Disagreement) -> tuple[Bools, Bools]:
    """Which requests have both answers, and in which of them they differ."""
    answered = {key: row for row, key in enumerate(came.keys) if came.roles[row] == Role.STABLE}
    other = {key: row for row, key in enumerate(came.keys) if came.roles[row] == role}
    met = [(i, answered[key], other[key]) for i, key in enumerate(ids) if key in answered and key in other]
    has, differs = np.zeros(len(ids), bool), np.zeros(len(ids), bool)
    if not met:
        return has, differs
    places, ours, theirs = zip(*met, strict=True)
    how = comparison(gate.compare)
    output = how.output or first_output([(came, ours[0])])
    if not output:
        return has, differs
    sides = [gathered([(came, row) for row in rows], output, who) for rows, who in ((ours, "stable"), (theirs, "it"))]
    kept = kept_answers(*sides)
    found = compare(sides[0].take(kept), sides[1].take(kept), how)
    index = np.array(places)[kept]
    has[index], differs[index] = True, np.asarray(found.differ, bool)
    return has, differs
