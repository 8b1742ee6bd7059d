"""Two places to run replicas that are one: what this machine runs, and what somebody else does.

A rollout may have one side here and the other one there, so which of them is asked follows from the bento.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lockgate.services.external import is_external
from lockgate.services.ports import Platform
from lockgate.services.words import Bento, Replica


class HereAndElsewhere(Platform):
    def __init__(self, here: Platform, elsewhere: Platform) -> None:
        self._here, self._elsewhere = here, elsewhere

    def start(self, bento: Bento, count: int) -> Sequence[Replica]:
        """As `Platform.start`."""
        return (self._elsewhere if is_external(bento.tag) else self._here).start(bento, count)

    def stop(self, replicas: Sequence[Replica]) -> None:
        """As `Platform.stop`."""
        self._here.stop([one for one in replicas if not is_external(one.bento)])
        self._elsewhere.stop([one for one in replicas if is_external(one.bento)])

    def replicas(self) -> Sequence[Replica]:
        """As `Platform.replicas`."""
        return [*self._here.replicas(), *self._elsewhere.replicas()]

    def watch(self, stable: Collection[str]) -> Mapping[str, str]:
        """As `Platform.watch`."""
        return {**self._here.watch(stable), **self._elsewhere.watch(stable)}
