"""BentoML's service with the fast lane in front.

`Service.to_asgi()` builds the app that BentoML's worker serves. It is BentoML's private API: the version is pinned, and
a contract test checks that the worker still calls it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from _bentoml_sdk import Service

if TYPE_CHECKING:
    from .core import Core
    from .lane import FastLane


class FastService(Service):  # type: ignore[misc]
    @property
    def core(self) -> Core | None:
        found: Core | None = self.context.state.get("core")
        return found

    def to_asgi(self, is_main: bool = True) -> FastLane:  # noqa: FBT001, FBT002 - BentoML's signature
        """Only a worker asks for it: the supervisor, which imports this too, needs no numpy."""
        from . import wire
        from .lane import FastLane

        wire.install()
        return FastLane(super().to_asgi(is_main), self)
