"""One comparison of live inputs with a reference, when somebody asks for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.flows import drift
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.profile import Profile
from lockgate.monitoring.drift.reference import Rows
from lockgate.monitoring.drift.words import Comparison, Window
from lockgate.registry.errors import RegistryError
from lockgate.rollout.store import Store, opened
from lockgate.rollout.words import Phase

if TYPE_CHECKING:
    from lockgate.registry.mlflow_registry import MlflowRegistry
    from lockgate.registry.words import ModelVersion


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose training data is asked for: `side`, candidate or stable. `reference`: its version or alias.

    `digest`: of its artifact, as far as it is known.
    """

    side: str
    reference: str
    digest: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Now:
    """`side`: whose training data it is; `digest`: of its artifact; `reference`: its version or alias."""

    side: str
    profile: Profile
    window: Window
    comparison: Comparison
    digest: str = ""
    reference: str = ""


def compared(spec: Spec, where: Home, side: str | None = None, now: float | None = None) -> Now:
    """`side`: by default the candidate while a rollout is open, else stable. `now`: unix seconds.

    Raises `NoReference`, `RegistryError`.
    """
    now = time.time() if now is None else now
    with opened(where.store_url) as store:
        asked = whose(spec, where, store, side)
    profile = _profile(spec, where, asked)
    window = drift.window(spec, where)
    found = drift.compared(spec, profile, window, now, asked.side)
    return Now(asked.side, profile, window, found, asked.digest, asked.reference)


def page(spec: Spec, where: Home, now: Now, path: Path) -> str:
    """Write Evidently's page about it; why there is none, or nothing. Raises `NoReference`, `RegistryError`."""
    from lockgate.monitoring.drift.report import html

    found = html(now.profile, _rows(spec, where, now.reference), now.window, now.comparison)
    if isinstance(found, str):
        return found
    path.write_bytes(found)
    return ""


def whose(spec: Spec, where: Home, store: Store, side: str | None) -> Whose:
    """Of the open rollout; else the version that serves, by the last rollout, or the build of the alias's version."""
    rollout = store.open_of(spec.name)
    facts = store.last(rollout.id).state.facts if rollout else {}
    side = side or ("candidate" if facts else "stable")
    if rollout is not None and facts:
        return Whose(side, rollout.subject.get(side, ""), facts.get(f"{side}_digest", ""))
    alias = spec.model.stable if side == "stable" else spec.model.candidate
    served = _served(spec, store) if side == "stable" else None
    try:
        version = registry_of(where).resolve(spec.model.name, alias)
    except RegistryError:
        return served or Whose(side, alias)  # what is kept is known without it
    if served and served.reference == version.version:
        return served
    return Whose(side, version.version, _built(spec, where, version))


def _served(spec: Spec, store: Store) -> Whose | None:
    """What the last rollout left as stable; None where there was none."""
    for rollout in store.rollouts(spec.name):
        state = store.last(rollout.id).state
        if state.facts and state.phase.over:
            side = state.winner if state.phase is Phase.SUCCEEDED else "stable"
            return Whose("stable", rollout.subject.get(side, ""), state.facts.get(f"{side}_digest", ""))
    return None


def _built(spec: Spec, where: Home, version: ModelVersion) -> str:
    """The digest of its artifact, where it was built under this spec."""
    from lockgate.flows import builds

    build = builds.known(spec, version, where)
    return build.bento.digest if build else ""


def _profile(spec: Spec, where: Home, of: Whose) -> Profile:
    """What is kept; else it is made, and kept for the next time where the artifact is known."""
    if of.digest:
        try:
            return drift.kept(where, spec, of.digest)
        except NoReference:
            pass
    found = drift.of_rows(_rows(spec, where, of.reference), spec)
    if of.digest:
        drift.put(where, spec, of.digest, found)
    return found


def _rows(spec: Spec, where: Home, reference: str) -> Rows:
    registry = registry_of(where)
    version = registry.resolve(spec.model.name, reference)
    return drift.rows_of(registry.fetch(version), spec, registry.training_file)


def registry_of(where: Home) -> MlflowRegistry:
    from lockgate.registry.mlflow_registry import MlflowRegistry

    return MlflowRegistry(where.models)
