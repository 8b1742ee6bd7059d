"""Walks the spec's types along a path: which fields there are where, and which part of a location is no path at all."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from lockgate.flows.specfile.values import Path


@dataclass(frozen=True, slots=True)
class Place:
    """`path` as a person reads it; `owner` is the model whose field its last part is, or would be."""

    path: Path
    owner: type[BaseModel] | None


def follow(root: type[BaseModel], location: Path) -> Place:
    """A location of pydantic's without the names of union members and `[key]`, which are in no file."""
    here: Any = root
    path: Path = ()
    owner: type[BaseModel] | None = None
    named = False
    for part in location:
        if part == "[key]" and named:
            continue
        here = _bare(here)
        named = get_origin(here) is dict
        if members := _members(here):
            here = next((m for m in members if part in _tags(m)), None)
            continue
        path = (*path, part)
        owner = here if _is_model(here) else None
        here = _below(here, part)
    return Place(path, owner)


@cache
def homes(root: type[BaseModel], name: str) -> tuple[str, ...]:
    """Where a field called `name` belongs, like `rollout.steps[].canary`."""
    return tuple(dict.fromkeys(_homes(root, name, "")))


def _homes(here: Any, name: str, at: str) -> Iterator[str]:
    here = _bare(here)
    if members := _members(here):
        for member in members:
            yield from _homes(member, name, at)
    elif _is_model(here):
        if name in here.model_fields:
            yield at or "the top of the file"
        for field, info in here.model_fields.items():
            yield from _homes(info.annotation, name, f"{at}.{field}" if at else field)
    elif get_origin(here) is tuple:
        yield from _homes(get_args(here)[0], name, f"{at}[]")
    elif get_origin(here) is dict:
        yield from _homes(get_args(here)[1], name, f"{at}.*")


def _below(here: Any, part: str | int) -> Any:
    if _is_model(here):
        info = here.model_fields.get(part)
        return info.annotation if info else None
    origin, inner = get_origin(here), get_args(here)
    if origin is tuple:
        return inner[0]
    return inner[1] if origin is dict else None


def _bare(here: Any) -> Any:
    """Without `Annotated` and `| None`."""
    while get_origin(here) is Annotated:
        here = get_args(here)[0]
    if get_origin(here) in {Union, types.UnionType}:
        members = [m for m in get_args(here) if m is not types.NoneType]
        return _bare(members[0]) if len(members) == 1 else here
    return here


def _members(here: Any) -> tuple[Any, ...]:
    return get_args(here) if get_origin(here) in {Union, types.UnionType} else ()


def _tags(member: Any) -> set[Any]:
    """What pydantic calls a member of a tagged union."""
    tags = {extra.tag for extra in get_args(member)[1:] if isinstance(extra, Tag)}
    model = _bare(member)
    for info in model.model_fields.values() if _is_model(model) else ():
        if get_origin(info.annotation) is Literal:
            tags |= set(get_args(info.annotation))
    return tags


def _is_model(here: Any) -> bool:
    return isinstance(here, type) and issubclass(here, BaseModel)
