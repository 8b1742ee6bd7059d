"""Our bar on MLflow's own page: a script at the end of its `index.html`, and nothing of MLflow's is touched."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

_INDEX = "serve"
"""MLflow's endpoint of `index.html`."""
_CACHED = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MODIFIED_SINCE", "HTTP_RANGE")


@cache
def script() -> bytes:
    return b"<script>\n" + Path(__file__).with_name("bar.js").read_bytes() + b"</script>"


def whole() -> None:
    """Flask's `before_request`: a browser that kept the page from before must not be told that it is the same."""
    from flask import request

    if request.endpoint == _INDEX:
        for name in _CACHED:
            request.environ.pop(name, None)


def with_bar(response: Any) -> Any:
    """Flask's `after_request`."""
    from flask import request

    if request.endpoint != _INDEX or response.status_code != 200 or response.mimetype != "text/html":
        return response
    response.direct_passthrough = False
    page: bytes = response.get_data()
    head, body, tail = page.rpartition(b"</body>")
    response.set_data(head + script() + body + tail if body else page + script())
    for name in ("ETag", "Last-Modified", "Accept-Ranges"):
        response.headers.pop(name, None)
    response.headers["Cache-Control"] = "no-store"
    return response
