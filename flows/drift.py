"""Live inputs against the data that a version was trained on: where its profile comes from, and where it is kept.

<home>/references/<digest>-….json    the profile of one artifact's version, or why there is none
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from lockgate.flows.capture import alone, write_private
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.monitoring.drift.age import aged, span
from lockgate.monitoring.drift.errors import NoReference
from lockgate.monitoring.drift.judge import compare
from lockgate.monitoring.drift.live import live
from lockgate.monitoring.drift.profile import Profile, profile_of
from lockgate.monitoring.drift.reference import Rows, rows_of_file
from lockgate.monitoring.drift.words import Comparison, Window
from lockgate.registry.errors import RegistryError
from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.services.serving.fields import Field, from_signature

_MANY = 16
"""Columns that drift and are named in a reason, at most."""
_LOOKS, _HOUR = 4, 3600.0
"""So many times the pace of the comparisons, or so many seconds, the latest row may be old, whichever is longer."""


class TrainingFile(Protocol):
    """Of the registry."""

    def __call__(self, version: ModelVersion, artifact: str, into: Path, *, data_set: bool = False) -> Path | None: ...


def rows_of(fetched: FetchedModel, spec: Spec, training_file: TrainingFile | None = None) -> Rows:
    """The training rows of a version, as its inputs. Raises `NoReference`, `RegistryDown`."""
    inputs = {of.name: _elements(of) for of in from_signature(fetched.signature["inputs"], tuple(fetched.example))}
    with file_of(fetched, spec, training_file) as path:
        return rows_of_file(path, inputs, outputs_of(fetched))


def outputs_of(fetched: FetchedModel) -> list[str]:
    """Their names, as far as they have some."""
    return [str(of["name"]) for of in fetched.signature.get("outputs") or () if of.get("name")]


@contextmanager
def file_of(fetched: FetchedModel, spec: Spec, training_file: TrainingFile | None = None) -> Iterator[Path]:
    """The file of the version's training rows. Raises `NoReference`, `RegistryDown`."""
    artifact, data_set = spec.monitoring.reference.artifact, spec.monitoring.reference.data_set
    with tempfile.TemporaryDirectory(prefix="lockgate-reference-") as scratch:
        path = _among(fetched.path, artifact)
        if path is None and training_file:
            path = training_file(fetched.version, artifact, Path(scratch), data_set=data_set)
        if path is None:
            more = (
                "; nor has that run a data set that can be read. Log one with it, or name another in"
                " monitoring.reference.artifact"
                if data_set
                else "; log one with it, name another in monitoring.reference.artifact, or let the data set that the"
                " run logged be taken with monitoring.reference.data_set"
            )
            raise NoReference(
                f"{fetched.version} has no {artifact} among its files, nor has its run one of up to 1 GiB{more}"
            )
        yield path


def made(fetched: FetchedModel, spec: Spec, training_file: TrainingFile | None = None) -> Profile:
    """The profile of a version's training data, without what is redacted. Raises `NoReference`, `RegistryDown`."""
    return of_rows(rows_of(fetched, spec, training_file), spec)


def of_rows(rows: Rows, spec: Spec) -> Profile:
    """Raises `NoReference` where nothing is left that could be compared."""
    source = spec.monitoring.reference.artifact
    found = profile_of(rows.inputs, rows.outputs, spec.monitoring.redact, source, rows.elements)
    if not any(feature.role == "input" for feature in found.features):
        raise NoReference("the reference has no input that is not redacted (monitoring.redact)")
    return replace(found, notes=rows.notes)


def keep(where: Home, digest: str, fetched: FetchedModel, spec: Spec, training_file: TrainingFile | None = None) -> str:
    """Make the profile and keep it for the artifact with this digest; why there is none, or nothing. Never raises.

    That there is none is kept as well; but not that the registry did not answer.
    """
    why, found = "", None
    try:
        found = made(fetched, spec, training_file)
    except (RegistryError, OSError) as reason:
        return str(reason)
    except (NoReference, ValueError) as reason:
        why = str(reason)
    return put(where, spec, digest, found or why) or why


def put(where: Home, spec: Spec, digest: str, found: Profile | str) -> str:
    """Keep a profile, or a reason why there is none; why that failed, or nothing."""
    profile = json.loads(found.to_json()) if isinstance(found, Profile) else None
    path = _path(where, spec, digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with alone(path.parent):
            write_private(path, {"why": "" if profile else found, "profile": profile})
    except OSError as reason:
        return f"the profile of the training data could not be written to {path}: {reason.strerror or reason}"
    return ""


def kept(where: Home, spec: Spec, digest: str) -> Profile:
    """The profile that was kept for an artifact. Raises `NoReference`: a sentence about why there is none."""
    found = _read(_path(where, spec, digest))
    if found is None:
        raise NoReference(
            f"no profile of the training data that this version of Lockgate can read is kept for {digest[:12]};"
            " `lockgate run` makes it with the next build"
        )
    if isinstance(found, str):
        raise NoReference(found)
    return found


def is_kept(where: Home, spec: Spec, digest: str) -> bool:
    """Whether there is a profile, or a reason why there is none, that `kept` takes."""
    return _read(_path(where, spec, digest)) is not None


def _read(path: Path) -> Profile | str | None:
    """None for what is damaged, and what another version of Lockgate wrote."""
    try:
        document = json.loads(path.read_bytes())
        if document["profile"] is not None:
            return Profile.of_json(json.dumps(document["profile"]))
        return str(document["why"]) or None
    except (OSError, ValueError, KeyError, TypeError, NoReference):
        return None


def window(spec: Spec, where: Home, until: float | None = None) -> Window:
    """The latest live rows of the pipeline."""
    return live(where.capture(spec.name), spec.monitoring.drift.window, until)


def compared(spec: Spec, profile: Profile, rows: Window, now: float, side: str) -> Comparison:
    """`now`: unix seconds; rows that are old by then decide nothing. `side`: whose training data the profile is of."""
    limits = spec.monitoring.drift
    found = compare(profile, rows, limits.threshold, limits.share, limits.ignore)
    found = aged(found, now, max(_LOOKS * limits.every, _HOUR))
    return replace(found, side=side, notes=(f"compared with {side}'s training data", *found.notes))


def reason(found: Comparison) -> str:
    """What drifts: one sentence about all and one about each input, as far as they are few; of which rows, and whose.

    What stands before the first `;` has no words of clients in it.
    """
    each = [of.says for of in found.drifted if of.role == "input"]
    more = [f"and {len(each) - _MANY} more"] if len(each) > _MANY else []
    rows = " ".join(filter(None, (f"{found.rows:,} rows", span(found))))
    whose = f" against {found.side}'s training data" if found.side else ""
    return "; ".join([found.says, *each[:_MANY], *more, rows + whose])


def _elements(field: Field) -> int:
    """Of one row of a tensor, where these are a fixed number; else 0."""
    found = 1
    for size in field.shape[1:]:
        found *= max(0, size)
    return 0 if field.column else found


def _among(folder: Path, artifact: str) -> Path | None:
    """The version's own file of this name; MLflow has several folders in which it may be."""
    named = Path(artifact).name
    return next((path for path in (folder / artifact, *sorted(folder.rglob(named))) if path.is_file()), None)


def _path(where: Home, spec: Spec, digest: str) -> Path:
    """Another one where it would be made of something else."""
    made_of = json.dumps([spec.monitoring.reference.model_dump(mode="json"), sorted(spec.monitoring.redact)])
    return where.references / f"{digest[:40]}-{hashlib.sha256(made_of.encode()).hexdigest()[:12]}.json"
