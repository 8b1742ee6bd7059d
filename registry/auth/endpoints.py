"""Which of MLflow's endpoints change the registry, and what each of them is asked to do.

The rules hang on MLflow's own names. One that is gone stops the server at its start; one that is new, and that nobody
has judged here yet, is refused: a rule that is not asked must not look like one that agrees.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from lockgate.registry.auth.errors import NotStarted
from lockgate.registry.auth.words import (
    CreateModel,
    DeleteAlias,
    DeleteModel,
    DeleteTag,
    DeleteVersion,
    Describe,
    MoveAlias,
    Operation,
    Register,
    RenameModel,
    SetTag,
)

_LOG = logging.getLogger("lockgate.auth")
_REGISTRY = re.compile(r"/(registered-models|model-versions)(/|$)")
_READING = {"GET", "HEAD", "OPTIONS"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`message` is the name of MLflow's request, `fields` those that are read from it."""

    message: str
    fields: tuple[str, ...]
    read: Callable[[Any], Operation]


_PROMPT = "mlflow.prompt.is_prompt"


def _tags(message: Any) -> dict[str, str]:
    return {tag.key: tag.value for tag in message.tags}


def _registered(m: Any) -> Register:
    tags = _tags(m)
    return Register(m.name, m.source, tags, prompt=tags.get(_PROMPT, "false").lower() == "true")


RULED: dict[str, Endpoint] = {
    "_set_model_version_tag": Endpoint(
        "SetModelVersionTag",
        ("name", "version", "key", "value"),
        lambda m: SetTag(m.name, m.version, m.key, m.value),
    ),
    "_delete_model_version_tag": Endpoint(
        "DeleteModelVersionTag", ("name", "version", "key"), lambda m: DeleteTag(m.name, m.version, m.key)
    ),
    "_set_registered_model_tag": Endpoint(
        "SetRegisteredModelTag", ("name", "key", "value"), lambda m: SetTag(m.name, "", m.key, m.value)
    ),
    "_delete_registered_model_tag": Endpoint(
        "DeleteRegisteredModelTag", ("name", "key"), lambda m: DeleteTag(m.name, "", m.key)
    ),
    "_set_registered_model_alias": Endpoint(
        "SetRegisteredModelAlias", ("name", "alias", "version"), lambda m: MoveAlias(m.name, m.alias, m.version)
    ),
    "_delete_registered_model_alias": Endpoint(
        "DeleteRegisteredModelAlias", ("name", "alias"), lambda m: DeleteAlias(m.name, m.alias)
    ),
    "_create_registered_model": Endpoint(
        "CreateRegisteredModel", ("name", "tags"), lambda m: CreateModel(m.name, _tags(m))
    ),
    "_create_model_version": Endpoint("CreateModelVersion", ("name", "source", "tags"), _registered),
    "_update_model_version": Endpoint("UpdateModelVersion", ("name", "version"), lambda m: Describe(m.name, m.version)),
    "_delete_model_version": Endpoint(
        "DeleteModelVersion", ("name", "version"), lambda m: DeleteVersion(m.name, m.version)
    ),
    "_delete_registered_model": Endpoint("DeleteRegisteredModel", ("name",), lambda m: DeleteModel(m.name)),
    "_rename_registered_model": Endpoint(
        "RenameRegisteredModel", ("name", "new_name"), lambda m: RenameModel(m.name, m.new_name)
    ),
}
HARMLESS = {
    "_update_registered_model",  # the model's description
    "_transition_stage",  # stages: nothing of ours reads them
    "_get_latest_versions",  # reads, with a POST
}


def check(app: Any, native: Callable[[str, str], bool]) -> frozenset[str]:
    """The names of endpoints that change the registry and are not known here; they are refused.

    `app` is MLflow's Flask app; `native(path, method)` says whether a request would not come to Flask at all.
    Raises `NotStarted` where a rule would not be asked.
    """
    _all_there(app)
    changing = list(_changing(app))
    for path, method, name in changing:
        if native(re.sub(r"<[^>]*>", "x", path), method):
            raise NotStarted(
                f"{_which()} answers {method} {path} before lockgate-auth can judge it ({name}); take an MLflow that "
                "Lockgate was tested with (3.17)"
            )
    unknown = frozenset(name for _, _, name in changing if name not in RULED and name not in HARMLESS)
    for name in sorted(unknown):
        _LOG.warning("%s has %s, which changes the registry and which no rule knows: it is refused", _which(), name)
    return unknown


def parsed(endpoint: Endpoint) -> Any:
    """The request, by MLflow's own parser: what we judge is what MLflow does."""
    from mlflow.protos import model_registry_pb2
    from mlflow.server.handlers import _get_request_message

    return _get_request_message(getattr(model_registry_pb2, endpoint.message)())


def _all_there(app: Any) -> None:
    from mlflow.protos import model_registry_pb2

    for name, endpoint in RULED.items():
        message = getattr(model_registry_pb2, endpoint.message, None)
        fields = set(message.DESCRIPTOR.fields_by_name) if message is not None else set()
        lacking = [field for field in endpoint.fields if field not in fields]
        if name not in app.view_functions or lacking:
            what = f"{endpoint.message} without {', '.join(lacking)}" if lacking else f"no endpoint {name}"
            raise NotStarted(
                f"{_which()} has {what}, and a rule of lockgate-auth hangs on it; take an MLflow that Lockgate was "
                "tested with (3.17)"
            )


def _changing(app: Any) -> Iterator[tuple[str, str, str]]:
    """(path, method, endpoint) of everything that may change the registry."""
    for rule in app.url_map.iter_rules():
        if _REGISTRY.search(rule.rule) or rule.endpoint in RULED:
            for method in sorted(set(rule.methods or ()) - _READING):
                yield rule.rule, method, rule.endpoint


def _which() -> str:
    import mlflow

    return f"MLflow {mlflow.__version__}"
