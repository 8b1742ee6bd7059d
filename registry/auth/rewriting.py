"""The request as MLflow is to carry it out: changed in place, so that what must not stand there never does.

Writing first and mending afterwards would show a copied approval to a webhook, and to whoever reads in between.
"""

from __future__ import annotations

from typing import Any

from lockgate.registry.auth.words import ALERT, AUTHOR, Operation, Person, Register, Ruling, SetTag


def rewrite(operation: Operation, person: Person, ruling: Ruling) -> None:
    """Changes the JSON of the current request, which Flask parses once and keeps."""
    if isinstance(operation, SetTag) and ruling.instead is not None:
        _body()["value"] = ruling.instead
    if isinstance(operation, Register):
        body = _body()
        body["tags"] = [tag for tag in _listed(body.get("tags")) if _key(tag) not in ruling.dropped]
        body["tags"] += [{"key": key, "value": value} for key, value in stamps(operation, person, ruling).items()]


def stamps(operation: Register, person: Person, ruling: Ruling) -> dict[str, str]:
    """The tags that the server gives a new version."""
    author = {} if operation.prompt else {AUTHOR: person.name}
    return {**author, ALERT: ruling.alert} if ruling.alert else author


def holds(now: Operation, operation: Operation, person: Person, ruling: Ruling) -> bool:
    """Whether the request, parsed again, says what it was changed to."""
    if isinstance(operation, SetTag) and isinstance(now, SetTag):
        return now.value == (operation.value if ruling.instead is None else ruling.instead)
    if isinstance(operation, Register) and isinstance(now, Register):
        kept = {key: value for key, value in operation.tags.items() if key not in ruling.dropped}
        return now.tags == kept | stamps(operation, person, ruling)
    return True


def _body() -> dict[str, Any]:
    from flask import request

    found = request.get_json(force=True, silent=True)
    if not isinstance(found, dict):
        raise _invalid("the body must be a JSON object")
    return found


def _listed(tags: object) -> list[Any]:
    if tags is None:
        return []
    if not isinstance(tags, list):
        raise _invalid("'tags' must be a list of {key, value}")
    return list(tags)


def _key(tag: object) -> str:
    key = tag.get("key") if isinstance(tag, dict) else None
    if not isinstance(key, str):
        raise _invalid("'tags' must be a list of {key, value}")
    return key


def _invalid(reason: str) -> Exception:
    from mlflow import MlflowException

    error: Exception = MlflowException.invalid_parameter_value(f"Lockgate: {reason}.")
    return error
