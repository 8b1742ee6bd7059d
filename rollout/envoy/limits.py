"""More requests than the limit are answered with 429: Envoy's `local_ratelimit`.

It stands among the routes for the same reason as the keys do. Copies are made behind it, so no request counts twice.
"""

from __future__ import annotations

import math

from lockgate.rollout.envoy.clients import CLIENT_HEADER
from lockgate.rollout.envoy.resources import Resource, duration, extension, typed
from lockgate.rollout.protection import Limits
from lockgate.rollout.spec import Traffic

_FILTER = "envoy.filters.http.local_ratelimit"
_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_PREFIX = "ingress"
_MOST_KNOWN = 10_000
"""Clients or addresses that are counted apart; whoever was quiet longest is forgotten first."""
_ALL = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}


def limits_filter() -> Resource:
    """Off; a virtual host that has limits turns it on."""
    return extension(_FILTER, _TYPE, stat_prefix=_PREFIX) | {"disabled": True}


def limited(traffic: Traffic) -> Resource:
    """For the virtual host. Nothing without limits."""
    limits = traffic.limits
    if not limits:
        return {}
    config = typed(
        _TYPE,
        stat_prefix=_PREFIX,
        status={"code": "TooManyRequests"},
        filter_enabled=_ALL,
        filter_enforced=_ALL,
        response_headers_to_add=[
            {
                "header": {"key": "retry-after", "value": str(max(1, math.ceil(limits.per / limits.requests)))},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        **_buckets(limits),
    )
    return {_FILTER: config}


def _buckets(limits: Limits) -> Resource:
    bucket = {
        "max_tokens": limits.burst or limits.requests,
        "tokens_per_fill": limits.requests,
        "fill_interval": duration(limits.per),
    }
    if limits.each == "all":
        return {"token_bucket": bucket}
    entry = "remote_address" if limits.each == "address" else "client"
    by_key = {"request_headers": {"header_name": CLIENT_HEADER, "descriptor_key": entry}}
    action = {"remote_address": {}} if limits.each == "address" else by_key
    return {
        "token_bucket": bucket,  # Envoy wants one: of requests for which there is no other
        "rate_limits": [{"actions": [action]}],
        # Without a value it stands for each one that comes.
        "descriptors": [{"entries": [{"key": entry}], "token_bucket": bucket}],
        "max_dynamic_descriptors": _MOST_KNOWN,
        "always_consume_default_token_bucket": False,
    }
