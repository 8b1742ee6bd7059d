"""`${NAME}` in a text stands for an environment variable; `$${` is a plain `${`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_REFERENCE = re.compile(r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)\}|\$\{")
_SHORT = 4


def fill(text: str, environment: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The text with its references replaced, and what must not be shown → what to show in its place.

    Raises `ValueError` with a sentence when a variable is not set or a reference is malformed.
    """
    hidden: dict[str, str] = {}

    def value_of(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        name = match["name"]
        if name is None:
            raise ValueError("'${' without a name and '}' after it; write ${NAME}, or $${ for a plain ${")
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set; set it, or write the value here")
        value = environment[name]
        if not _is_unicode(value):
            raise ValueError(f"the environment variable {name} is not UTF-8 text")
        hidden[value] = match[0]
        return value

    filled = _REFERENCE.sub(value_of, text)
    if hidden:
        hidden[filled] = text
    return filled, hidden


def fill_all(value: Any, environment: Mapping[str, str]) -> tuple[Any, dict[str, str]]:
    """`fill` for every text in a JSON value."""
    if isinstance(value, str):
        return fill(value, environment)
    if not isinstance(value, Mapping | list):
        return value, {}
    pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
    filled = {key: fill_all(inner, environment) for key, inner in pairs}
    hidden = {secret: name for _, found in filled.values() for secret, name in found.items()}
    inside = {key: inner for key, (inner, _) in filled.items()}
    return (inside if isinstance(value, Mapping) else list(inside.values())), hidden


def refer_all(value: Any, hidden: Mapping[str, str]) -> Any:
    """Undo `fill_all`: every text of a JSON value as it was written, with references instead of what they stand for."""
    if isinstance(value, str):
        return hidden.get(value) or value.replace("${", "$${")
    if isinstance(value, Mapping):
        return {key: refer_all(inner, hidden) for key, inner in value.items()}
    return [refer_all(inner, hidden) for inner in value] if isinstance(value, list) else value


def referred(value: Any) -> set[str]:
    """The names of all variables that a document, or a text in it, refers to."""
    if isinstance(value, str):
        return {match["name"] for match in _REFERENCE.finditer(value) if match["name"]}
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return {name for inner in inside for name in referred(inner)}


def hide(text: str, hidden: Mapping[str, str]) -> str:
    """`text` without the values that came from the environment, longest first.

    A value of a few characters is replaced only where it stands alone, or every message would be riddled with names.
    """
    for value, shown in sorted(hidden.items(), key=lambda pair: -len(pair[0])):
        for form in {value, repr(value)[1:-1]} - {""}:
            if len(form) < _SHORT:
                text = re.sub(rf"(?<![\w.]){re.escape(form)}(?![\w.])", _always(shown), text)
            else:
                text = text.replace(form, shown)
    return text


def _always(text: str) -> Callable[[re.Match[str]], str]:
    """A replacement in which a backslash is a backslash."""
    return lambda _: text


def _is_unicode(text: str) -> bool:
    """Python lets bytes that are no UTF-8 through as lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)
