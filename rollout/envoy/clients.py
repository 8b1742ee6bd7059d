"""Only who sends a known key is answered: Envoy's `api_key_auth`.

The keys stand among the routes, and not in the listener: routes change under clients' connections, while a listener
that changes asks every client to connect anew.
"""

from __future__ import annotations

from lockgate.rollout.envoy.resources import Resource, extension, typed
from lockgate.rollout.spec import Traffic

CLIENT_HEADER = "x-lockgate-client"
"""What models and logs know a client by."""

_SCHEMES = ("", "bearer ", "BEARER ")
"""What may stand before a key. Envoy itself takes `Bearer ` away, and only that, though a scheme has no case."""
_FILTER = "envoy.filters.http.api_key_auth"
_V3 = "envoy.extensions.filters.http.api_key_auth.v3"


def clients_filter() -> Resource:
    """Off; a virtual host that has keys turns it on."""
    return extension(_FILTER, f"{_V3}.ApiKeyAuth") | {"disabled": True}


def nobody_speaks_for_it() -> Resource:
    """Before anything else: a client cannot name itself."""
    return extension(
        "envoy.http.early_header_mutation.header_mutation",
        "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
        mutations=[{"remove": CLIENT_HEADER}],
    )


def only_clients(traffic: Traffic, alone: tuple[str, ...] = ()) -> Resource:
    """For the virtual host, and for a route that only those in `alone` may use. Nothing without keys."""
    if not traffic.clients:
        return {}
    config = typed(
        f"{_V3}.ApiKeyAuthPerRoute",
        credentials=[
            {"client": name, "key": scheme + key}
            for name, keys in sorted(traffic.clients.keys.items())
            for key in keys
            for scheme in _SCHEMES
        ],
        key_sources=[{"header": traffic.clients.header}],
        forwarding={"header": CLIENT_HEADER, "hide_credentials": True},
        **({"allowed_clients": sorted(alone)} if alone else {}),
    )
    return {_FILTER: config}
