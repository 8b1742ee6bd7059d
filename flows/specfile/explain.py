"""pydantic's errors in the words of somebody who writes a spec: no class names, no union members, no Python."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from lockgate.flows.errors import Problem
from lockgate.flows.specfile.shapes import Place, follow, homes
from lockgate.flows.specfile.values import Document, Path, shown
from lockgate.monitoring.units import percent_text, seconds_text, share_text, size_text

_LONGEST = 300
_WORD = 60


def explain(root: type[BaseModel], errors: Iterable[ErrorDetails], document: Document) -> Iterator[Problem]:
    """One problem for each error that is not the echo of another."""
    told = [(error, follow(root, error["loc"])) for error in errors]
    mistyped = {near for error, place in told if error["type"] == "extra_forbidden" and (near := _meant(root, place))}
    for error, place in told:
        path, message = _told(root, error, place, document.at(place.path))
        if path in mistyped or _is_echo(error, path, document):
            continue
        text = message if len(message) <= _LONGEST else f"{message[:_LONGEST]}…"
        yield Problem(document.line(path), shown(path), text)


def _is_echo(error: ErrorDetails, path: Path, document: Document) -> bool:
    """About a value that could not be read at all, or about a list that is short only of its wrong items."""
    if any(path[:end] in document.spoiled for end in range(len(path) + 1)):
        return True
    return error["type"] == "too_short" and bool(document.at(path))


def _told(root: type[BaseModel], error: ErrorDetails, place: Place, raw: Any) -> tuple[Path, str]:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return _blamed(place.path, str(context["error"]), raw)
    if kind == "extra_forbidden":
        return place.path, _unknown(root, place)
    if kind == "missing":
        return place.path, _missing(place)
    if kind.startswith("union_tag"):
        return _untagged(place.path, context, raw)
    if kind in _WANTED:
        return place.path, _wrong_kind(_WANTED[kind], raw)
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return place.path, f"must be {words} {_like(context[key], raw)}, not {_number(raw)}"
    if kind in _WORDS:
        return place.path, _WORDS[kind](context, raw)
    return place.path, error["msg"].replace("Input should", "must")


def _blamed(path: Path, sentence: str, raw: Any) -> tuple[Path, str]:
    """A check across fields begins with the field that is to blame: `failover.deadline: sentence`."""
    match = re.match(r"([a-z_]+(?:\[\d+\])?(?:\.[a-z_]+(?:\[\d+\])?)*): ", sentence)
    if not match or not isinstance(raw, dict):
        return path, sentence
    parts = re.findall(r"[a-z_]+|\d+", match[1])
    return (*path, *(int(p) if p.isdigit() else p for p in parts)), sentence[match.end() :]


def _meant(root: type[BaseModel], place: Place) -> Path | None:
    """The path that an unknown field most likely stands for."""
    *above, name = place.path
    if place.owner is None or homes(root, str(name)):
        return None
    near = get_close_matches(str(name), place.owner.model_fields, n=1)
    return (*above, near[0]) if near else None


def _unknown(root: type[BaseModel], place: Place) -> str:
    if meant := _meant(root, place):
        return f"unknown field; did you mean {meant[-1]!r}?"
    if elsewhere := homes(root, str(place.path[-1])):
        return f"unknown field here; it belongs to {' or '.join(elsewhere)}"
    known = ", ".join(place.owner.model_fields) if place.owner else ""
    return f"unknown field; known here: {known}"


def _missing(place: Place) -> str:
    info = place.owner.model_fields.get(str(place.path[-1])) if place.owner else None
    return f"missing; write it here: {info.description}" if info and info.description else "missing"


def _untagged(path: Path, context: dict[str, Any], raw: Any) -> tuple[Path, str]:
    """A gate whose metric is missing or unknown."""
    field = context["discriminator"].strip("'")
    known = re.findall(r"'([^']*)'", context.get("expected_tags", ""))
    if not isinstance(raw, dict):
        return path, _wrong_kind(_FIELDS, raw)
    if field not in raw:
        return (*path, field), "missing; it says what the gate measures"
    return (*path, field), _one_of(known, raw[field])


def _one_of(known: list[str], raw: Any) -> str:
    near = get_close_matches(raw, known, n=1) if isinstance(raw, str) else []
    question = f"; did you mean {near[0]!r}?" if near else ""
    wanted = " or ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)
    return f"must be {wanted}, not {repr(raw[:_WORD]) if isinstance(raw, str) else described(raw)}{question}"


_FIELDS = "fields"
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": _FIELDS,
    "model_type": _FIELDS,
    "model_attributes_type": _FIELDS,
}


def _wrong_kind(wanted: str, raw: Any) -> str:
    if raw is None and wanted == _FIELDS:
        return "empty; its fields go below it, indented"
    if raw is None:
        return f"empty; must be {wanted}"
    hint = ""
    if wanted == "text" and isinstance(raw, bool | int | float):
        hint = "; put it in quotes"
    elif wanted.endswith("number") and isinstance(raw, str) and re.fullmatch(r"[0-9.]+", raw):
        hint = "; leave the quotes out"
    elif wanted == "a list" and isinstance(raw, str):
        hint = "; put it in brackets"
    wanted = "a mapping of fields" if wanted == _FIELDS else wanted
    return f"must be {wanted}, not {described(raw)}{hint}"


_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_WORDS: dict[str, Callable[[dict[str, Any], Any], str]] = {
    "literal_error": lambda context, raw: _one_of(re.findall(r"'([^']*)'", context["expected"]), raw),
    "too_short": lambda context, _: f"empty; must have at least {context['min_length']} entry",
    "string_too_short": lambda *_: "empty; must be text",
}


def _like(bound: float, raw: Any) -> str:
    """A bound in the unit that the value was written in."""
    if not isinstance(raw, str) or not bound:
        return f"{bound:g}" if isinstance(bound, float) else str(bound)
    if raw.endswith("%"):
        return share_text(bound) if bound <= 1 else percent_text(bound)
    return size_text(int(bound)) if raw.endswith("B") else seconds_text(bound)


def _number(raw: Any) -> str:
    return raw[:_WORD] if isinstance(raw, str) else str(raw)


def described(raw: Any) -> str:
    """A value as its author sees it."""
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, int | float):
        return f"the number {raw}"
    if isinstance(raw, str):
        return f"the text {raw[:_WORD]!r}" if raw else "an empty text"
    if isinstance(raw, dict | list):
        return "a mapping" if isinstance(raw, dict) else "a list"
    return "nothing"
