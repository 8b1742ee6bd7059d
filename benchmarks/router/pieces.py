"""What the router does with each request, piece by piece, as edits that take a piece out of its configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.router.routers import Change, Files
from lockgate.rollout.envoy.resources import Resource

_HTTP = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TIME_LIMITS = ("request_headers_timeout", "request_timeout", "stream_idle_timeout", "stream_flush_timeout")
_PATHS = ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action")
_REQUEST_ID = ("preserve_external_request_id", "always_set_request_id_in_response")


def manager(files: Files) -> Resource:
    """Of the clients' listener."""
    found: Resource = files["lds"][0]["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def _hosts(files: Files) -> Iterator[Resource]:
    return (host for one in files["rds"] for host in one["virtual_hosts"])


def _actions(files: Files) -> Iterator[Resource]:
    return (route["route"] for host in _hosts(files) for route in host["routes"] if "route" in route)


def _slots(files: Files) -> Iterator[Resource]:
    return (slot for one in _actions(files) for slot in one.get("weighted_clusters", {}).get("clusters", []))


def _options(files: Files) -> Iterator[Resource]:
    return (one["typed_extension_protocol_options"][_HTTP] for one in files["cds"])


def _without_filter(files: Files, *names: str) -> None:
    of = manager(files)
    of["http_filters"] = [one for one in of["http_filters"] if not one["name"].endswith(names)]


def access_log(files: Files) -> None:
    manager(files).pop("access_log")


def attempt_log(files: Files) -> None:
    manager(files)["http_filters"][-1]["typed_config"].pop("upstream_log")


def buffer(files: Files) -> None:
    _without_filter(files, ".buffer")


def idle_filters(files: Files) -> None:
    _without_filter(files, ".api_key_auth", ".local_ratelimit")


def statistics(files: Files) -> None:
    files["bootstrap"]["stats_config"] = {"stats_matcher": {"reject_all": True}}


def buckets(files: Files) -> None:
    files["bootstrap"]["stats_config"].pop("histogram_bucket_settings")


def per_endpoint(files: Files) -> None:
    for one in files["cds"]:
        one.pop("track_cluster_stats", None)


def failover(files: Files) -> None:
    """Requests go to the clusters that hold the endpoints, and once."""
    for slot in _slots(files):
        slot["name"] = slot["name"].removesuffix("_fb")
    for options in _options(files):
        options.pop("retry_policy", None)


def deadlines(files: Files) -> None:
    for options in _options(files):
        options["common_http_protocol_options"].pop("max_stream_duration", None)
    for action in _actions(files):
        action["timeout"] = "0s"


def sticky(files: Files) -> None:
    for action in _actions(files):
        action.pop("hash_policy", None)
        action.get("weighted_clusters", {}).pop("use_hash_policy", None)


def marks(files: Files) -> None:
    """The headers that say which variant answered, and those that a client may not set."""
    manager(files).pop("early_header_mutation_extensions")
    for host in _hosts(files):
        for one in (*host["routes"], *_slots(files)):
            for field in ("request_headers_to_add", "response_headers_to_add", "request_headers_to_remove"):
                one.pop(field, None)


def request_id(files: Files) -> None:
    of = manager(files)
    for field in _REQUEST_ID:
        of.pop(field)
    of["generate_request_id"] = False


def testers(files: Files) -> None:
    for host in _hosts(files):
        host["routes"] = [one for one in host["routes"] if not one["name"].startswith("force-")]


def time_limits(files: Files) -> None:
    of = manager(files)
    for field in _TIME_LIMITS:
        of[field] = "0s"
    of["common_http_protocol_options"]["idle_timeout"] = "0s"


def paths(files: Files) -> None:
    of = manager(files)
    for field in _PATHS:
        of.pop(field)


def replies(files: Files) -> None:
    manager(files).pop("local_reply_config")


def connection_limits(files: Files) -> None:
    files["bootstrap"].pop("overload_manager")


PIECES: Mapping[str, Change] = {
    "access log": access_log,
    "log of attempts": attempt_log,
    "buffered bodies": buffer,
    "filters that are off (keys, limits)": idle_filters,
    "statistics": statistics,
    "buckets of histograms": buckets,
    "statistics per replica": per_endpoint,
    "failover": failover,
    "deadlines": deadlines,
    "sticky split": sticky,
    "marks (headers)": marks,
    "request ids": request_id,
    "routes for testers": testers,
    "time limits of clients": time_limits,
    "paths made plain": paths,
    "sentences for errors": replies,
    "limit of connections": connection_limits,
}


def everything(files: Files) -> None:
    """All of them: what is left is Envoy itself."""
    for piece in PIECES.values():
        if piece is not buckets:  # they went with the statistics
            piece(files)


def nothing(_files: Files) -> None:
    """The whole configuration."""
