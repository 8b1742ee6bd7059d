"""What Envoy itself answers: always `{"error": "a sentence"}`, with the status that fits."""

from __future__ import annotations

from lockgate.rollout.envoy.resources import Resource

SENTENCES = {
    400: "this is no request that can be understood; see its path, its headers and how its body is framed",
    401: "no key, or none that is known here; send yours as `Authorization: Bearer KEY`, or in the header agreed on",
    403: "this is not allowed: only some clients may choose their variant, and nobody may upgrade the connection",
    404: "there is nothing at this address; see the path",
    408: "the request did not arrive in time; send it faster, or in smaller parts",
    413: "the body is larger than is taken here; send less of it at once",
    426: "HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2",
    429: "too many requests; wait as long as Retry-After says",
    431: "the headers are too large, or too many; send fewer",
    500: "the router failed; send the request again",
    501: "a body is sent as it is, or in chunks; leave other transfer encodings out",
    502: "the model's answer could not be read; send the request again",
    503: "no model answers now; send the request again later",
    504: "the model did not answer in time; send the request again later",
}
_ERROR = {"json_format": {"error": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
_HEADERS = {401: {"www-authenticate": "Bearer"}}


def local_replies() -> Resource:
    """Routes may answer for themselves, in JSON of their own (405): that stays as it is."""
    own = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    return {
        "mappers": [
            {"filter": _status(405), "body_format_override": own},
            *(_said(status, sentence) for status, sentence in SENTENCES.items()),
        ],
        "body_format": _ERROR,
    }


def _said(status: int, sentence: str) -> Resource:
    headers = [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in _HEADERS.get(status, {}).items()
    ]
    said = {"filter": _status(status), "body": {"inline_string": sentence}}
    return said | ({"headers_to_add": headers} if headers else {})


def _status(status: int) -> Resource:
    compared = {"op": "EQ", "value": {"default_value": status, "runtime_key": f"lockgate.replies.{status}"}}
    return {"status_code_filter": {"comparison": compared}}
