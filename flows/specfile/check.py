"""Text in, a checked value out, or every problem at once."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.specfile.environment import hide
from lockgate.flows.specfile.nodes import compose
from lockgate.flows.specfile.values import Document, Reader

Model = TypeVar("Model", bound=BaseModel)


def check(
    root: type[Model], text: str, file: str, environment: Mapping[str, str] | None = None
) -> tuple[Model, Mapping[str, str]]:
    """The value that `text` describes, and what in it must not be shown (see `environment.fill`).

    Raises `SpecError`. Values are checked as JSON and strictly: `yes` is no number, `"5"` is no 5, a list is a tuple.
    """
    node = compose(text, file)
    document = Reader(file, os.environ if environment is None else environment).root(node)
    try:
        model = _validated(root, document)
    except ValidationError as error:
        from lockgate.flows.specfile.explain import explain

        found = explain(root, error.errors(include_url=False, include_input=False), document)
        document.problems.extend(Problem(p.line, p.path, hide(p.message, document.hidden)) for p in found)
    if document.problems:
        raise SpecError(file, document.problems)
    return model, document.hidden


def _validated(root: type[Model], document: Document) -> Model:
    """The environment holds texts only: one that does not fit as a text is tried as a number, once."""
    try:
        return root.model_validate_json(json.dumps(document.value), strict=True)
    except ValidationError as error:
        if not document.filled:
            raise
        from lockgate.flows.specfile.shapes import follow

        if not document.reread(follow(root, each["loc"]).path for each in error.errors()):
            raise
    return root.model_validate_json(json.dumps(document.value), strict=True)
