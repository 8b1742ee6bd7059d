"""Fakes of the ports, for tests that need no real data plane. They pass the same contract tests as the adapters."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from lockgate.rollout.errors import RouterDown, RouterRefused
from lockgate.rollout.ports import always
from lockgate.rollout.words import WHOLE, Routes


class FakeRouter:
    """Serves in memory. `down` makes it a data plane that does not answer."""

    def __init__(self, routes: Routes) -> None:
        self.down = False
        self.changes = 0
        self._routes = routes

    def apply(self, routes: Routes, still: Callable[[], bool] = always) -> bool:
        shares = (routes.weight, routes.mirror)
        if not routes.stable or not all(0 <= share <= WHOLE for share in (*shares, routes.echo)):
            raise RouterRefused("these are no routes")
        if not routes.candidate and (routes.mirror or (routes.weight and not routes.others)):
            raise RouterRefused("there is no candidate")
        _check_others(routes)
        before = self.applied()
        if not still():
            return False
        if routes != before:
            self.changes += 1
            self._routes = replace(
                routes,
                stable=tuple(sorted(routes.stable)),
                candidate=tuple(sorted(routes.candidate)),
                others=tuple(replace(one, endpoints=tuple(sorted(one.endpoints))) for one in routes.others),
            )
        return True

    def applied(self) -> Routes:
        if self.down:
            raise RouterDown("the fake router is down")
        return self._routes


def _check_others(routes: Routes) -> None:
    names, weights = [one.name for one in routes.others], [one.weight for one in routes.others]
    if len({*names, "stable", "candidate"}) != len(names) + 2:
        raise RouterRefused("there are two of one name")
    if not all(re.fullmatch(r"[a-z][a-z0-9-]{0,30}", name) for name in names):
        raise RouterRefused("this is no name")
    if routes.weight + sum(weights) > WHOLE or min(weights, default=0) < 0:
        raise RouterRefused("these are no shares")
