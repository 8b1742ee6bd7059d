"""What can go wrong in reading captured traffic."""

from __future__ import annotations


class Unreadable(Exception):
    """A sentence: which file, what is wrong with it."""
