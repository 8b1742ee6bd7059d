"""Any other http(s) address is sent JSON: `title` and `text` for people, as Mattermost takes it, and `lockgate`.

The standard library's client writes no log, which would hold the address, and leaves it as it was written: but for
`user:password@`, which goes into a header, and for what an address cannot hold, which is percent-encoded.
"""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from string import punctuation
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

import lockgate
from lockgate.flows.notify.message import Message
from lockgate.flows.notify.spec import on_this_host, parts

_WITHIN = 10.0
"""Seconds without a word until the receiver is given up."""


class _Stays(urllib.request.HTTPRedirectHandler):
    """A redirect is an answer: what is told goes to whom it was meant for, and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        return None


def post(url: str, message: Message) -> str:
    """Empty when it was taken; else why not, in a few words."""
    body = {"title": message.title, "text": f"{message.title}\n{message.text}", "lockgate": message.facts}
    try:
        with _opener(url).open(_request(url, json.dumps(body).encode()), timeout=_WITHIN):
            return ""
    except urllib.error.HTTPError as answer:
        answer.close()
        return f"it answered {answer.code}"
    except Exception as error:  # noqa: BLE001 - whatever it is, its words may hold the address
        return _unreached(error)


def _request(url: str, body: bytes) -> urllib.request.Request:
    """Raises `ValueError`, whose words may hold the address."""
    at = urlsplit(url)
    headers = {"content-type": "application/json", "user-agent": f"lockgate/{lockgate.__version__}"}
    user, has_user, host = at.netloc.rpartition("@")
    if has_user:
        headers["authorization"] = f"Basic {base64.b64encode(_credentials(user)).decode()}"
    address = SplitResult(at.scheme, host, quote(at.path, punctuation), quote(at.query, punctuation), "").geturl()
    return urllib.request.Request(address, body, headers, method="POST")  # noqa: S310 - the spec allows http(s) only


def _credentials(user: str) -> bytes:
    name, _, password = user.partition(":")
    return f"{unquote(name)}:{unquote(password)}".encode()


def _opener(url: str) -> urllib.request.OpenerDirector:
    at = parts(url)
    if at and on_this_host(at):  # no proxy leads there
        return urllib.request.build_opener(_Stays, urllib.request.ProxyHandler({}))
    return urllib.request.build_opener(_Stays)


def _unreached(error: Exception) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return "its certificate does not hold"
    if isinstance(reason, TimeoutError):
        return f"it said nothing for {_WITHIN:g} s"
    if isinstance(reason, OSError) and reason.strerror:
        return f"it was not reached ({reason.strerror.lower()})"
    return f"it was not reached ({type(reason).__name__})"
