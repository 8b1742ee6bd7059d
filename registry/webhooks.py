"""Webhooks in MLflow: what tells us at once that a tag or an alias was set. Only its server has them, and its admins.

Set MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY on the server before the first one. Without it MLflow encrypts the secrets with
a key that it forgets when it stops, and from then on no webhook fires and none can be listed (mlflow#19896).
MLflow reads its list of webhooks once a minute: a new one misses what happens in its first minute.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from .client import asking, connect, quiet_mlflow, servers_words
from .errors import NoSuchVersion, Refused, RegistryDown
from .location import Location, without_password

NAME = "lockgate"
"""Several pipelines at one MLflow each need a name of their own."""
EVENTS = ("model_version_tag.set", "model_version_alias.created")
SHORTEST, LONGEST = 16, 500
"""Characters of a secret: what nobody guesses, and what fits encrypted into MLflow's table."""
_PAGE = 100
_NO_SUCH_ADDRESS = re.compile(r"scheme|non-public|resolv|hostname|credentials|canonical", re.IGNORECASE)
_BROKEN_INSIDE = re.compile(r"too many 500 error responses")


@dataclass(frozen=True, slots=True)
class Webhook:
    """As MLflow keeps it, without its secret."""

    id: str
    name: str
    url: str
    events: tuple[str, ...]
    active: bool


def webhooks(where: Location) -> tuple[Webhook, ...]:
    """All of them, newest first, those of others too. Raises `Refused`, `RegistryDown`."""
    client = _client(where)
    found, token = [], None
    with asking(where), _sentences(where):
        while True:
            page = client.list_webhooks(max_results=_PAGE, page_token=token)
            found.extend(page)
            token = page.token
            if not token:
                return tuple(_webhook(one) for one in found)


def ensure_webhooks(where: Location, url: str, secret: str, name: str = NAME) -> Webhook:
    """One webhook of this name, which tells `url` of tags and aliases; created, or set right.

    MLflow does not show a secret, so it is written every time. Raises `Refused`, `RegistryDown`.
    """
    if not SHORTEST <= len(secret) <= LONGEST:
        raise Refused(f"A webhook's secret has {SHORTEST} to {LONGEST} characters, and this one has {len(secret)}.")
    mine = [one for one in webhooks(where) if one.name == name]
    client = _client(where)
    with asking(where), _sentences(where, url):
        if not mine:
            return _webhook(client.create_webhook(name=name, url=url, events=list(EVENTS), secret=secret))
        for more in mine[1:]:
            client.delete_webhook(more.id)
        kept = client.update_webhook(mine[0].id, url=url, events=list(EVENTS), secret=secret, status="ACTIVE")
        return _webhook(kept)


def remove_webhooks(where: Location, name: str = NAME) -> int:
    """How many there were of that name. Deliveries may go on for a minute. Raises `Refused`, `RegistryDown`."""
    mine = [one for one in webhooks(where) if one.name == name]
    client = _client(where)
    with asking(where), _sentences(where):
        for one in mine:
            client.delete_webhook(one.id)
    return len(mine)


def try_webhooks(where: Location, name: str = NAME) -> Webhook:
    """Let MLflow send its example to the webhook of that name.

    Raises `Refused` with what came of it, `NoSuchVersion` where there is no such webhook, `RegistryDown`.
    """
    mine = [one for one in webhooks(where) if one.name == name]
    if not mine:
        raise NoSuchVersion(f"MLflow at {where} has no webhook {name!r}. Add it first.")
    client = _client(where)
    with asking(where), _sentences(where), _in_time(where, mine[0].url):
        outcome = client.test_webhook(mine[0].id, event=EVENTS[0])
    if outcome.success:
        return mine[0]
    came = outcome.error_message or f"it answers {outcome.response_status}"
    raise Refused(
        f"MLflow at {where} cannot deliver to {without_password(mine[0].url)}: {without_password(came)[:300]}. Check "
        "that the receiver runs there with the same secret, and that the server's machine reaches it."
    )


def _client(where: Location) -> Any:
    if not where.registry.startswith(("http://", "https://")):
        raise Refused(
            f"{where} is a database, and only an MLflow server sends webhooks. Name the server with "
            "MLFLOW_TRACKING_URI, or go without: the pipeline looks at the registry on its own."
        )
    return connect(where)


def _webhook(found: Any) -> Webhook:
    events = tuple(sorted(str(event) for event in found.events))
    return Webhook(found.webhook_id, found.name, found.url, events, str(found.status) == "ACTIVE")


@contextmanager
def _sentences(where: Location, url: str = "") -> Iterator[None]:
    """Turns what MLflow's server says about webhooks into what to do about it."""
    mlflow = quiet_mlflow()
    try:
        yield
    except mlflow.MlflowException as error:
        code = getattr(error, "error_code", "")
        if code in ("PERMISSION_DENIED", "UNAUTHENTICATED"):
            raise Refused(
                f"MLflow at {where} lets only its administrators manage webhooks ({servers_words(error)}). Repeat with "
                "an administrator's MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD."
            ) from error
        if code == "INVALID_PARAMETER_VALUE" and url:
            raise Refused(_invalid(where, url, servers_words(error))) from error
        if _BROKEN_INSIDE.search(str(error)):
            raise RegistryDown(_no_key(where)) from error
        raise


@contextmanager
def _in_time(where: Location, url: str) -> Iterator[None]:
    """MLflow answers a test only when it has given up, which takes longer than we wait for any answer."""
    mlflow = quiet_mlflow()
    try:
        yield
    except mlflow.MlflowException as error:
        if "timed out" not in str(error).lower():
            raise
        raise Refused(
            f"MLflow at {where} could not deliver to {without_password(url)} in time. Check that the receiver runs "
            "there, and that the server's machine reaches it."
        ) from error


def _invalid(where: Location, url: str, why: str) -> str:
    if not _NO_SUCH_ADDRESS.search(why):
        return f"MLflow at {where} takes no such webhook: {why}."
    return (
        f"MLflow at {where} sends nothing to {without_password(url)}: {why}. Give it a public https:// address. Where "
        "both are in one private network, start the MLflow server with MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true, and for "
        "http:// with MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https."
    )


def _no_key(where: Location) -> str:
    return (
        f"MLflow at {where} cannot read the webhooks that it has, and none of them fires: mostly because it was "
        "started without MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY, or with another one than they were made with. Start it "
        "with the key of then. If there was none, set one (cryptography.fernet.Fernet.generate_key()), delete the rows "
        "of MLflow's tables webhook_events and webhooks, and add the webhooks again."
    )
