"""Who may do what in the registry. Pure: no vendor, no clock."""

from __future__ import annotations

from lockgate.registry.approvals import APPROVAL, DECISIONS, REQUEST, said
from lockgate.registry.auth.asked import asked, touched
from lockgate.registry.auth.decisions import decide
from lockgate.registry.auth.words import (
    ALERT,
    AUTHOR,
    BREAK_GLASS,
    CHALLENGER,
    CHAMPION,
    OPEN,
    PIPELINE,
    ROLLOUT,
    CreateModel,
    DeleteAlias,
    DeleteModel,
    DeleteTag,
    DeleteVersion,
    Describe,
    MoveAlias,
    Operation,
    Person,
    Register,
    RenameModel,
    Ruling,
    SetTag,
    Standing,
    ours,
)

FREE = Ruling("allowed", recorded=False)
"""MLflow's own permissions decide."""
_SAYS_APPROVED = {APPROVAL, DECISIONS, REQUEST}


def concerns(operation: Operation) -> bool:
    """Whether a rule is about it at all; the rest is not even looked at."""
    match operation:
        case SetTag() | DeleteTag():
            return ours(operation.key)
        case MoveAlias() | DeleteAlias():
            return operation.alias in (CHAMPION, CHALLENGER)
        case CreateModel():
            return any(ours(key) for key in operation.tags)
        case _:
            return True


def judge(operation: Operation, person: Person, standing: Standing, now: float) -> Ruling:
    """`now` in Unix seconds, as the request's `expires_at` is."""
    if not concerns(operation):
        return FREE
    match operation:
        case SetTag() | DeleteTag():
            return _tag(operation, person, standing, now)
        case MoveAlias() | DeleteAlias():
            return _alias(operation, person, standing)
        case CreateModel():
            return _create(operation, person)
        case Register():
            return _register(operation, person)
        case Describe():
            return _describe(operation, person, standing, now)
        case DeleteVersion():
            return _delete_version(operation, person, standing, now)
        case DeleteModel() | RenameModel():
            return _remove(operation, person, standing, now)


def _tag(operation: SetTag | DeleteTag, person: Person, standing: Standing, now: float) -> Ruling:
    key = operation.key
    if key == AUTHOR:
        return Ruling("refused", f"{AUTHOR} is written by the server alone, when a version is registered")
    pipeline = PIPELINE in person.roles
    if key == APPROVAL and isinstance(operation, SetTag) and operation.version:
        # The pipeline says what is asked, and what came of it; a decision is a person's, whoever writes it.
        return Ruling("allowed") if pipeline and not said(operation.value) else decide(operation, person, standing, now)
    if pipeline:
        return Ruling("allowed")
    if key == APPROVAL and operation.version:
        return Ruling(
            "refused", f"{APPROVAL} is removed by the pipeline alone; to stop the rollout write 'rejected: why' into it"
        )
    return Ruling("refused", _pipeline_alone(key, person))


def _pipeline_alone(key: str, person: Person) -> str:
    return f"{key} is written by the pipeline alone (role {PIPELINE}), and {person.name} has not that role"


def _alias(operation: MoveAlias | DeleteAlias, person: Person, standing: Standing) -> Ruling:
    rollout = _open(standing)
    if operation.alias != CHAMPION or not rollout or PIPELINE in person.roles:
        return Ruling("allowed")
    return _unless_glass(
        person,
        f"@{CHAMPION} of {operation.model} is moved by the pipeline alone while the rollout {rollout} is open; let it "
        f"end, or end it with `lockgate abort {rollout}`",
    )


def _create(operation: CreateModel, person: Person) -> Ruling:
    if PIPELINE in person.roles:
        return Ruling("allowed")
    return Ruling("refused", _pipeline_alone(next(key for key in operation.tags if ours(key)), person))


def _register(operation: Register, person: Person) -> Ruling:
    """Never refused for its tags: it is how MLflow's own UI copies a version."""
    mine = [key for key in operation.tags if ours(key)]
    if PIPELINE in person.roles:
        return Ruling("allowed", dropped=tuple(key for key in mine if key == AUTHOR))
    told = [key for key in mine if key not in (AUTHOR, ALERT)]  # every copy carries these two: nothing to be told
    if not told:
        return Ruling("allowed", recorded=not operation.prompt or bool(mine), dropped=tuple(mine))
    what = "an approval" if _SAYS_APPROVED & set(told) else "Lockgate's word"
    alert = f"{what} of {_origin(operation)} was copied with its tags; it does not count here"
    return Ruling("allowed", alert, dropped=tuple(mine), alert=alert)


def _origin(operation: Register) -> str:
    name, _, version = operation.source.removeprefix("models:/").rpartition("/")
    if operation.source.startswith("models:/") and name and version:
        return f"{name} version {version}"
    return "another version"


def _describe(operation: Describe, person: Person, standing: Standing, now: float) -> Ruling:
    if PIPELINE in person.roles or not asked(standing.tags, _open(standing), now):
        return FREE
    return Ruling(
        "refused",
        f"the description of {operation.model} version {standing.version} is the evidence that people decide on now; "
        "edit it after they have",
    )


def _delete_version(operation: DeleteVersion, person: Person, standing: Standing, now: float) -> Ruling:
    which = f"{operation.model} version {standing.version}"
    if standing.aliases.get(CHAMPION) == standing.version and _rolled_out(standing):
        return _unless_glass(
            person,
            f"{which} is @{CHAMPION} of a model that Lockgate rolls out; point @{CHAMPION} at another version first",
        )
    if rollout := _in_rollout(standing, now):
        return _unless_glass(person, f"{which} is part of the open rollout {rollout}; let it end or abort it first")
    return Ruling("allowed")


def _in_rollout(standing: Standing, now: float) -> str:
    """The open rollout that the version is part of; empty when it is part of none."""
    rollout = _open(standing)
    if request := asked(standing.tags, rollout, now):
        return request.rollout
    challenges = standing.aliases.get(CHALLENGER) == standing.version
    return rollout if rollout and (challenges or standing.tags.get(ROLLOUT) == rollout) else ""


def _open(standing: Standing) -> str:
    return standing.model_tags.get(OPEN, "")


def _rolled_out(standing: Standing) -> bool:
    """Whether Lockgate ever rolled out a version of the model: what it never saw is nobody's business."""
    return touched(standing.model_tags) or touched(standing.tags) or any(map(touched, standing.versions.values()))


def _remove(operation: DeleteModel | RenameModel, person: Person, standing: Standing, now: float) -> Ruling:
    verb = "deleted" if isinstance(operation, DeleteModel) else "renamed"
    rollout = _open(standing)
    if rollout:
        return _unless_glass(
            person, f"{operation.model} is not {verb} while the rollout {rollout} is open; let it end or abort it first"
        )
    for version, tags in standing.versions.items():
        if request := asked(tags, rollout, now):
            return _unless_glass(
                person,
                f"{operation.model} is not {verb} while the rollout {request.rollout} asks people to approve version "
                f"{version} of it; let them decide, or abort it first",
            )
    if CHAMPION in standing.aliases and _rolled_out(standing):
        return _unless_glass(
            person, f"{operation.model} is not {verb} while it has a @{CHAMPION} and Lockgate rolls it out"
        )
    return Ruling("allowed")


def _unless_glass(person: Person, reason: str) -> Ruling:
    return Ruling("break-glass" if BREAK_GLASS in person.roles else "refused", reason)
