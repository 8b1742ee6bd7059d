"""Which of the forms of an answer a client accepts, and whether its body is as it is."""

from __future__ import annotations

import functools
from typing import Literal

from .refusals import BadRequest

Form = Literal["json", "npy"]

_TYPES: dict[Form, tuple[str, ...]] = {
    "json": ("application/json", "text/json"),
    "npy": ("application/x-npy", "application/x-numpy"),
}


def whole(encoding: bytes) -> None:
    """Raises `BadRequest` where the body is compressed."""
    if encoding.lower() not in (b"", b"identity"):
        kind = encoding[:40].decode("latin-1")
        raise BadRequest(f"content encoding {kind!r} is not read; send the body as it is", 415)


@functools.lru_cache(256)
def forms(accept: bytes) -> tuple[Form, ...]:
    """Those that it accepts, the most wanted first; JSON where it has no word for either. None may be left."""
    ranges = [found for part in accept.decode("latin-1").lower().split(",") if (found := _range(part))]
    if not ranges:
        return ("json",)
    wanted = {form: max(_quality(kind, ranges) for kind in kinds) for form, kinds in _TYPES.items()}
    return tuple(sorted((form for form in wanted if wanted[form][0] > 0), key=lambda form: wanted[form], reverse=True))


def _range(part: str) -> tuple[str, float] | None:
    """None where it is no media range, for what cannot be read asks for nothing."""
    kind, *parameters = (word.strip() for word in part.split(";"))
    if kind.count("/") != 1:
        return None
    weight = next((word[2:] for word in parameters if word.startswith("q=")), "1")
    try:
        return kind, float(weight)
    except ValueError:
        return kind, 1.0


def _quality(kind: str, ranges: list[tuple[str, float]]) -> tuple[float, int]:
    """How much it is wanted, and how closely it is named: a type before `application/*`, that before `*/*`."""
    patterns = ("*/*", f"{kind.partition('/')[0]}/*", kind)
    closest = max(((patterns.index(name), weight) for name, weight in ranges if name in patterns), default=(-1, 0.0))
    return closest[1], closest[0]
