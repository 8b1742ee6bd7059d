"""The address that clients send to, as a spec file describes it: its secrets, and the files that it names."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.specfile.nodes import compose
from lockgate.flows.specfile.values import Document, Reader, shown
from lockgate.rollout.spec import RolloutSpec

if TYPE_CHECKING:
    from lockgate.flows.spec import Spec

_AT = ("rollout", "traffic", "clients", "keys")
_SAID = (
    "a key is a secret, and this file is not; put it into an environment variable and write that here, like"
    ' "${SHOP_KEY}"'
)


def literal_keys(text: str, file: str, environment: Mapping[str, str] | None) -> list[Problem]:
    """One problem for each key that stands in the file itself; none for a text that cannot be read."""
    if "keys" not in text:
        return []
    try:
        document = Reader(file, os.environ if environment is None else environment).root(compose(text, file))
    except SpecError:
        return []
    return list(_found(document))


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


def _found(document: Document) -> Iterator[Problem]:
    keys = document.at(_AT)
    for name, value in keys.items() if isinstance(keys, dict) else ():
        at = (*_AT, name)
        for path in [(*at, i) for i in range(len(value))] if isinstance(value, list) else [at]:
            if isinstance(document.at(path), str) and path not in document.filled:
                yield Problem(document.line(path), shown(path), _SAID)
