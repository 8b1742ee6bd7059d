"""What can go wrong with a rehearsal."""

from __future__ import annotations

from lockgate.flows.errors import FlowError


class BadTraffic(FlowError):
    """The captured traffic cannot be rehearsed with: a sentence that says what is missing."""

    code = 2
