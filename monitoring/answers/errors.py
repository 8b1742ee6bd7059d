"""What can go wrong in comparing answers."""

from __future__ import annotations


class Incomparable(Exception):
    """A sentence: what of the answers cannot be compared, and what to change."""
