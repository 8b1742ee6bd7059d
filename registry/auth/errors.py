"""Why the server does not start, or does not carry something out."""

from __future__ import annotations


class NotStarted(Exception):
    """A sentence for whoever starts the server."""


class Unrecorded(Exception):
    """The audit could not be written, so nothing was done."""


class Busy(Exception):
    """Somebody else is changing the same model."""
