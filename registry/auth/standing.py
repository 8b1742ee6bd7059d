"""What MLflow's registry holds now, read where it keeps it; and the tags that the server itself writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from lockgate.registry.approvals import Decision, checked, decisions_of
from lockgate.registry.auth.words import (
    OPEN,
    CreateModel,
    DeleteModel,
    DeleteVersion,
    Operation,
    Person,
    Register,
    RenameModel,
    Standing,
)

_MANY = 1000


def person(name: str) -> Person:
    """With the roles of the default workspace: whoever runs another workspace may make up roles there."""
    from mlflow.server.auth import store
    from mlflow.utils.workspace_utils import DEFAULT_WORKSPACE_NAME

    roles = store.list_user_roles_for_workspace(store.get_user(name).id, DEFAULT_WORKSPACE_NAME)
    return Person(name, frozenset(role.name for role in roles if not role.name.startswith("__")))


def standing(operation: Operation, secret: bytes) -> Standing:
    """Raises MLflow's own error where there is no such model or version."""
    if isinstance(operation, CreateModel | Register):
        return Standing()
    model = _registry().get_registered_model(operation.model)
    aliases = {alias: str(version) for alias, version in model.aliases.items()}
    removes = isinstance(operation, DeleteVersion | DeleteModel | RenameModel)
    siblings = (v for v in versions(equals("name", model.name)) if v.name == model.name) if removes else ()
    everyone = {str(v.version): dict(v.tags) for v in siblings}
    found = Standing(model_tags=dict(model.tags), aliases=aliases, versions=everyone)
    if not (version := getattr(operation, "version", "")):
        return found
    page = _registry().get_model_version(operation.model, version)
    number = str(page.version)
    return replace(found, version=number, tags=dict(page.tags), decisions=_decisions(page, secret))


def open_rollout(model: str) -> str:
    """What `lockgate.open` of a registered model says; empty where it says nothing."""
    return str(_registry().get_registered_model(model).tags.get(OPEN, ""))


def versions(query: str | None) -> Iterator[Any]:
    """All that MLflow's search finds, however many they are."""
    token = None
    while True:
        found = _registry().search_model_versions(query, max_results=_MANY, page_token=token)
        yield from found
        if not (token := found.token):
            return


def equals(attribute: str, value: str) -> str | None:
    """A query of MLflow's search; None, which finds everything, for a value that its grammar cannot hold."""
    quote = '"' if "'" in value else "'"
    return None if quote in value else f"{attribute} = {quote}{value}{quote}"


def tags(model: str, version: str) -> dict[str, str]:
    return dict(_registry().get_model_version(model, version).tags)


def write_tags(model: str, version: str, values: Mapping[str, str]) -> None:
    from mlflow.entities.model_registry import ModelVersionTag

    for key, value in values.items():
        _registry().set_model_version_tag(model, version, ModelVersionTag(key, value))


def delete_tag(model: str, version: str, key: str) -> None:
    _registry().delete_model_version_tag(model, version, key)


def _decisions(page: Any, secret: bytes) -> tuple[Decision, ...]:
    """Those that this server signed, for this version: what was copied or edited is none."""
    found: list[Decision] = []
    for decision in decisions_of(page.tags):
        with suppress(TypeError, ValueError):  # written by anybody before the server had our rules
            found.append(checked(decision, page.name, str(page.version), secret))
    return tuple(d for d in found if d.verified)


def _registry() -> Any:
    from mlflow.server.handlers import _get_model_registry_store

    return _get_model_registry_store()
