"""What was built, as a rollout keeps it: by side and by name."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.services.words import Bento, Build


def parity(its: Build) -> str:
    if its.parity is None:
        return f"nothing was compiled and nothing proven, for it is served elsewhere, at {', '.join(its.places)}"
    return f"{its.parity.rows} rows, largest difference {its.parity.max_abs_error:.2g} in {its.parity.worst_output}"


def facts_of(made: Mapping[str, Bento]) -> dict[str, str]:
    facts: dict[str, str] = {}
    for side, bento in made.items():
        facts |= {f"{side}_bento": bento.tag, f"{side}_digest": bento.digest, f"{side}_version": bento.version}
        facts |= {f"{side}_target": bento.target, f"{side}_precision": bento.precision}
    return facts
