"""Slack, Teams, Discord, mail and what else Apprise knows by its address. The only Apprise code.

Apprise and what it sends with write addresses into their logs, so they write nothing while they work for us; of what
went wrong only the status is taken from there.
"""

from __future__ import annotations

import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from lockgate.flows.notify.message import Message, Mood

_LOGGERS = (
    "apprise",
    "oauthlib",
    "requests_oauthlib.oauth1_session",
    "requests_oauthlib.oauth2_session",
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.util.retry",
)
_GUESSED = ("Apprise API", "Mattermost")
"""Apprise sees these in addresses that may be anybody's; both are named with certainty by a scheme of their own."""
_STATUS = re.compile(r"error=(\d{3})\b")
_HERE = threading.local()


def _silent(record: logging.LogRecord) -> bool:
    """A filter: nothing passes in a thread that sends for us."""
    if not getattr(_HERE, "silent", False):
        return True
    if status := _STATUS.search(record.getMessage()):
        _HERE.status = status[1]
    return False


@contextmanager
def _silence() -> Iterator[None]:
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_silent)  # once: a filter that is there is not added again
    _HERE.silent, _HERE.status = True, ""
    try:
        yield
    finally:
        _HERE.silent = False


@cache
def _apprise() -> Any:
    """The vendor with all its plugins, without the warnings that they have about their own code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import apprise

        apprise.Apprise.instantiate("json://localhost")
    return apprise


def service(url: str) -> Any:
    """Apprise's notification service behind the address; None for one that it does not know."""
    with _silence():
        apprise = _apprise()
        asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY)  # it keeps no tokens on disk
        asset.app_id = asset.app_desc = "Lockgate"
        asset.app_url = asset.image_url_mask = asset.image_url_logo = ""
        asset.async_mode = False
        try:
            found = apprise.Apprise.instantiate(url, asset=asset)
        except Exception:  # noqa: BLE001 - whatever a plugin makes of a wrong address
            return None
    guessed = url.startswith("http") and str(getattr(found, "service_name", "")) in _GUESSED
    return None if guessed else found


def tell(known: Any, message: Message) -> str:
    """Empty when it was taken; else why not, in a few words."""
    with _silence():
        apprise = _apprise()
        kinds = {
            Mood.ASKS: apprise.NotifyType.WARNING,
            Mood.GOOD: apprise.NotifyType.SUCCESS,
            Mood.BAD: apprise.NotifyType.FAILURE,
            Mood.PLAIN: apprise.NotifyType.INFO,
        }
        try:
            taken = known.notify(
                body=message.text,
                title=message.title,
                notify_type=kinds[message.mood],
                body_format=apprise.NotifyFormat.TEXT,
            )
        except Exception as error:  # noqa: BLE001 - a plugin's own; its words may hold the address
            return f"{known.service_name} failed with {type(error).__name__}"
        if taken:
            return ""
        return (
            f"{known.service_name} answered {_HERE.status}" if _HERE.status else f"{known.service_name} was not reached"
        )
