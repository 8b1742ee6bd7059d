"""Secrets that stand in the file itself: a spec is shared and stored, so they are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.notify.spec import tells_a_secret
from lockgate.flows.specfile.nodes import compose
from lockgate.flows.specfile.values import Document, Reader, shown

_ADDRESS = (
    "an address with a path is a secret, and this file is not; put it into an environment variable and write that here,"
    ' like "${SLACK_URL}"'
)
_KEYS = ("rollout", "traffic", "clients", "keys")
_KEY = (
    "a key is a secret, and this file is not; put it into an environment variable and write that here, like"
    ' "${SHOP_KEY}"'
)


def literals(text: str, file: str, environment: Mapping[str, str] | None) -> list[Problem]:
    """One problem for each; none for a text that cannot be read, about which others say enough."""
    if "notify" not in text and "keys" not in text:
        return []
    try:
        document = Reader(file, os.environ if environment is None else environment).root(compose(text, file))
    except SpecError:
        return []
    return [*_addresses(document), *_keys(document)]


def _addresses(document: Document) -> Iterator[Problem]:
    section = document.value.get("notify")
    for index, item in enumerate(section if isinstance(section, list) else ()):
        path = ("notify", index, "webhook")
        address = item.get("webhook") if isinstance(item, dict) else None
        if isinstance(address, str) and path not in document.filled and tells_a_secret(address):
            yield Problem(document.line(path), shown(path), _ADDRESS)


def _keys(document: Document) -> Iterator[Problem]:
    keys = document.at(_KEYS)
    for name, value in keys.items() if isinstance(keys, dict) else ():
        at = (*_KEYS, name)
        for path in [(*at, i) for i in range(len(value))] if isinstance(value, list) else [at]:
            if isinstance(document.at(path), str) and path not in document.filled:
                yield Problem(document.line(path), shown(path), _KEY)
