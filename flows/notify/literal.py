"""Addresses that stand in the file itself. Each is a secret, and a spec is shared and stored: they are refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.notify.spec import tells_a_secret
from lockgate.flows.specfile.nodes import compose
from lockgate.flows.specfile.values import Document, Reader, shown

_SAID = (
    "an address with a path is a secret, and this file is not; put it into an environment variable and write that here,"
    ' like "${SLACK_URL}"'
)


def literal(text: str, file: str, environment: Mapping[str, str] | None) -> list[Problem]:
    """One problem for each; none for a text that cannot be read, about which others say enough."""
    if "notify" not in text:
        return []
    try:
        document = Reader(file, os.environ if environment is None else environment).root(compose(text, file))
    except SpecError:
        return []
    return list(_found(document))


def _found(document: Document) -> Iterator[Problem]:
    section = document.value.get("notify")
    for index, item in enumerate(section if isinstance(section, list) else ()):
        path = ("notify", index, "webhook")
        address = item.get("webhook") if isinstance(item, dict) else None
        if isinstance(address, str) and path not in document.filled and tells_a_secret(address):
            yield Problem(document.line(path), shown(path), _SAID)
