"""The address that clients send to, as a spec file describes it: the files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.flows.errors import Problem, SpecError
from lockgate.rollout.spec import RolloutSpec

if TYPE_CHECKING:
    from lockgate.flows.spec import Spec


def placed(rollout: RolloutSpec, file: str) -> RolloutSpec:
    """With the paths that `file` names relative to itself made absolute: a resumed rollout finds them."""
    traffic = rollout.traffic
    if traffic.tls is None:
        return rollout
    tls = traffic.tls.below(Path(file).absolute().parent)
    return rollout.model_copy(update={"traffic": traffic.model_copy(update={"tls": tls})})


def missing(rollout: RolloutSpec) -> str | None:
    """What is wrong with the files that the spec names on this machine, as a sentence."""
    if rollout.traffic.tls is None:  # the usual case: nothing is loaded for it
        return None
    from lockgate.rollout.envoy.checks import check_files
    from lockgate.rollout.errors import RouterRefused

    try:
        check_files(rollout.traffic)
    except RouterRefused as reason:
        return str(reason)
    return None


def with_files(spec: Spec, file: Path) -> Spec:
    """The spec, whose files are there and fit. Raises `SpecError`."""
    if why := missing(spec.rollout):
        path, _, sentence = why.partition(": ")
        raise SpecError(str(file), [Problem(0, path, sentence)])
    return spec
