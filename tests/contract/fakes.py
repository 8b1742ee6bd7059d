"""Fakes of the ports, for tests that need no real data plane. They pass the same contract tests as the adapters."""

from __future__ import annotations

from dataclasses import replace

from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.words import WHOLE, Routes


class FakeRouter:
    """Serves in memory. `down` makes it a data plane that does not answer."""

    def __init__(self, routes: Routes) -> None:
        self.down = False
        self.changes = 0
        self._routes = routes

    def apply(self, routes: Routes) -> None:
        shares = (routes.weight, routes.mirror)
        if not routes.stable or not all(0 <= share <= WHOLE for share in (*shares, routes.echo)):
            raise RouterRefused("these are no routes")
        if any(shares) and not routes.candidate:
            raise RouterRefused("there is no candidate")
        if routes != self.applied():
            self.changes += 1
            self._routes = replace(
                routes, stable=tuple(sorted(routes.stable)), candidate=tuple(sorted(routes.candidate))
            )

    def applied(self) -> Routes:
        if self.down:
            raise RouterDown("the fake router is down")
        return self._routes
