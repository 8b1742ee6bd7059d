"""The sentences for a model, an alias or a version that is not there: what there is, what was meant, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

_SHOWN = 8


def no_such_model(name: str, there: Iterable[str], where: str) -> str:
    names = sorted(there)
    if not names:
        return (
            f"There is no registered model {name!r} at {where}, nor any other. Register one: "
            f"mlflow.<flavour>.log_model(..., registered_model_name={name!r})."
        )
    return f"There is no registered model {name!r} at {where}.{_meant(name, names)} Registered there: {_list(names)}."


def no_such_alias(name: str, reference: str, versions: Mapping[str, tuple[str, ...]]) -> str:
    aliases = sorted(a for found in versions.values() for a in found)
    has = f"it has {_list([f'@{a}' for a in aliases])}" if aliases else "it has none"
    newest = next(iter(versions), None)
    if newest is None:
        return (
            f"Registered model {name!r} has no version yet, so {reference} names none. Log a model with its name first."
        )
    return (
        f"Registered model {name!r} has no alias {reference} ({has}).{_meant(reference[1:], aliases, '@')} "
        "To set it on the newest version, use 'Add alias' on its page, or "
        f"mlflow.MlflowClient().set_registered_model_alias({name!r}, {reference[1:]!r}, {newest!r})."
    )


def no_such_version(name: str, reference: str, versions: Mapping[str, tuple[str, ...]]) -> str:
    has = f"it has {_list(list(versions))}, newest first" if versions else "it has none yet"
    return (
        f"Registered model {name!r} has no version {reference} ({has}). Name one of them, or an alias like @challenger."
    )


def _meant(name: str, there: list[str], mark: str = "") -> str:
    near = get_close_matches(name, there, n=1, cutoff=0.5)
    return f" Did you mean {mark + near[0]!r}?" if near else ""


def _list(items: list[str]) -> str:
    more = f" and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
