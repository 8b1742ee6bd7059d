"""What keeps the address that clients send to: TLS, keys of clients, limits. None of them is on by default."""

from __future__ import annotations

import os.path
import re
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from lockgate.monitoring.units import Seconds
from lockgate.rollout.section import Section

SHORTEST_KEY = 16
_LONGEST_KEY = 512
_CLIENT = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}"
_OURS = "x-lockgate-"


class Tls(Section):
    """HTTPS instead of HTTP: TLS 1.2 and later, HTTP/2 and HTTP/1.1."""

    certificate: str = Field(
        min_length=1,
        description="PEM file of the certificate and those between it and the root. Relative paths begin at the spec.",
    )
    key: str = Field(
        min_length=1, description="PEM file of its private key, unencrypted, which only its owner and group may read."
    )
    client_ca: str | None = Field(
        default=None, min_length=1, description="PEM file of the authorities that clients' own certificates must be of."
    )

    def below(self, folder: Path) -> Self:
        """With absolute paths: what is stored of the spec is read wherever it is resumed."""
        paths = {"certificate": self.certificate, "key": self.key, "client_ca": self.client_ca}
        return self.model_copy(
            update={name: os.path.normpath(folder / path) if path else path for name, path in paths.items()}
        )


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9-]+", value):
        raise ValueError(f"{value!r} is not a header's name; use letters, digits and '-', like x-user-id")
    return value


class HeaderName(Section):
    """A request header."""

    header: Annotated[str, AfterValidator(_header)] = Field(
        description="Name of a request header.", json_schema_extra={"pattern": "^[A-Za-z0-9-]+$"}
    )


class Force(HeaderName):
    """Testers pick the variant."""

    clients: tuple[str, ...] = Field(
        default=(), description="Who alone may, of `clients.keys`; others get a 403. Everybody where none is named."
    )


def _client(value: str) -> str:
    if not re.fullmatch(_CLIENT, value):
        raise ValueError("a client's name has up to 63 letters, digits, '_', '-' and '.', a letter or digit first")
    return value


def _several(value: object) -> object:
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _keys(values: tuple[str, ...]) -> tuple[str, ...]:
    """None of them is repeated in a sentence."""
    for value in values:
        if not SHORTEST_KEY <= len(value) <= _LONGEST_KEY:
            raise ValueError(
                f"a key of {len(value)} characters; it needs {SHORTEST_KEY} to {_LONGEST_KEY}, like the output of"
                " `openssl rand -hex 32`"
            )
        if not re.fullmatch(r"[!-~]+", value):
            raise ValueError("a key has no spaces and no other characters than ASCII's visible ones")
    return values


ClientName = Annotated[
    str, AfterValidator(_client), WithJsonSchema({"type": "string", "pattern": f"^{_CLIENT}$"}, mode="validation")
]
Keys = Annotated[
    tuple[str, ...],
    BeforeValidator(_several),
    Field(min_length=1),
    AfterValidator(_keys),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
            "examples": ["${SHOP_KEY}"],
        }
    ),
]


class Clients(HeaderName):
    """Who may send requests: whoever sends a key of theirs. Others get a 401."""

    header: Annotated[str, AfterValidator(_header)] = Field(
        default="authorization",
        description="Where the key is: after `Bearer ` or by itself. It is removed before a model is asked.",
        json_schema_extra={"pattern": "^[A-Za-z0-9-]+$"},
    )
    keys: dict[ClientName, Keys] = Field(
        min_length=1,
        repr=False,
        description=(
            "By the client's name, which models get as `x-lockgate-client`: the variable of the environment that holds"
            " the key, like `${SHOP_KEY}`, or a list of them, while one takes the place of another."
        ),
        json_schema_extra={"additionalProperties": False},
    )

    def hidden(self) -> Self:
        """As it is stored: with the names alone."""
        return self.model_copy(update={"keys": {name: (f"the-hidden-key-of-{name}",) for name in self.keys}})

    def odd(self) -> str | None:
        """What is wrong with it as a whole, in a sentence that begins with the field."""
        counts = Counter(key for keys in self.keys.values() for key in keys)
        for name, keys in self.keys.items():
            if any(counts[key] > 1 for key in keys):
                return f"keys.{name}: the same key twice; every client needs its own"
        if self.header.lower().startswith(_OURS) or self.header.lower() in ("host", "x-request-id"):
            return f"header: {self.header!r} has another meaning; use authorization or x-api-key"
        return None


class Limits(Section):
    """Requests beyond these are answered with 429, and asked to come again."""

    requests: int = Field(ge=1, le=1_000_000, description="How many are answered.")
    per: Seconds = Field(default=1.0, ge=0.1, le=3600, description="In this time.")
    each: Literal["client", "address", "all"] = Field(
        default="all", description="Of each client by its key, of each IP address, or of all together."
    )
    burst: int | None = Field(
        default=None,
        ge=1,
        le=10_000_000,
        description="How many at once, after a pause; as many as `requests` by itself.",
    )
