"""Asks Prometheus as Grafana's data source does."""

from __future__ import annotations

from typing import Any, Self

import httpx

from lockgate.dashboards.grafana.errors import Unanswered
from lockgate.dashboards.grafana.queries import Asked, Times

_WITHIN = 30.0


class Prometheus:
    """Use as `with`. `url`: like http://127.0.0.1:9090."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.Client(timeout=_WITHIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def series(self, query: Asked, times: Times) -> list[dict[str, Any]]:
        """Prometheus's `result`: series with `values`, or with one `value` where only the latest was asked for.

        Raises `Unanswered`.
        """
        if query.latest:
            return self._get("query", query=query.expr, time=f"{times.end:.3f}")
        # On whole steps, as Grafana asks: the same points whenever it is asked.
        start, end = (at // query.step * query.step for at in (times.start, times.end))
        return self._get("query_range", query=query.expr, start=str(start), end=str(end), step=str(query.step))

    def values(self, label: str, of: str, times: Times) -> list[str]:
        """Of a label, in the series `of`, sorted."""
        found = self._get(f"label/{label}/values", **{"match[]": of, "start": str(times.start), "end": str(times.end)})
        return sorted(str(value) for value in found)

    def _get(self, path: str, **params: str) -> list[Any]:
        try:
            response = self._client.get(f"{self._url}/api/v1/{path}", params=params)
            answer = response.json()
        except (httpx.HTTPError, ValueError) as reason:
            raise Unanswered(f"Prometheus at {self._url} cannot be asked: {reason}; is the address right?") from reason
        if answer.get("status") != "success":
            raise Unanswered(f"Prometheus refuses {params.get('query', path)}: {answer.get('error')}")
        data = answer["data"]
        return list(data if isinstance(data, list) else data["result"])
