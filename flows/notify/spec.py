"""The `notify:` section: who is told what, as it happens."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

Kind = Literal[
    "started",
    "approval_pending",
    "approved",
    "rejected",
    "expired",
    "waiting",
    "drift",
    "promoted",
    "rolled_back",
    "failed",
]
_HOW = "write the variable of the environment that holds it, like ${SLACK_URL}"


def _address(value: str) -> str:
    """None of it is repeated in a sentence: it is a secret. And it stays as it was written: it is known by its text."""
    if value != value.strip() or not value.isprintable():
        raise ValueError("has white space at its ends, or characters that nobody sees; leave them out")
    if not (at := parts(value)):
        raise ValueError(f"is not an address; {_HOW}")
    if at.scheme in ("http", "https"):
        _check_host(at)
    from lockgate.flows.notify.services import service

    known = service(value)
    if known is None and at.hostname == "hooks.slack.com" and at.path.startswith("/services"):
        raise ValueError("is not a whole address of a Slack webhook; copy it again from the Slack app")
    if known is None and at.scheme not in ("http", "https"):
        raise ValueError(
            "is neither http(s)://, nor an address that Apprise understands; it tells how to write them on"
            " https://appriseit.com/services"
        )
    return value


def _check_host(at: SplitResult) -> None:
    try:
        whole = bool(at.hostname) and at.port != 0
    except ValueError:
        whole = False
    if not whole:
        raise ValueError("has no host, or a port that is none; write it like https://host/path")


def parts(url: str) -> SplitResult | None:
    """None for what is no address at all."""
    try:
        at = urlsplit(url)
    except ValueError:
        return None
    return at if at.scheme and "://" in url else None


def on_this_host(at: SplitResult) -> bool:
    """Whether nobody but this machine takes what is sent there."""
    host = at.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def tells_a_secret(url: str) -> bool:
    """Whether whoever reads the address may send there."""
    at = parts(url)
    if at is None or on_this_host(at):
        return False
    return at.scheme not in ("http", "https") or at.path not in ("", "/") or bool(at.query or at.username)


Address = Annotated[str, AfterValidator(_address), WithJsonSchema({"type": "string", "examples": ["${SLACK_URL}"]})]


class Notify(BaseModel):
    """Somebody who is told."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: tuple[Kind, ...] = Field(
        min_length=1,
        description=(
            "Of what: `approval_pending`, `waiting` (for a person's `promote` or `abort`) and `drift` ask for somebody;"
            " `started`, `approved`, `rejected`, `expired`, `promoted`, `rolled_back` and `failed` only tell."
        ),
    )
    webhook: Address = Field(
        repr=False,
        description=(
            "Where: a webhook of Slack, Teams or Discord, any address that Apprise understands, or one that takes JSON"
            " with a `text` (Mattermost does). It is a secret: write the variable of the environment that holds it."
        ),
    )
