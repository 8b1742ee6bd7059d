"""What can go wrong in comparing live inputs with the reference."""

from __future__ import annotations


class NoReference(Exception):
    """A sentence: why there is nothing that live inputs could be compared with, and what to do about it."""
