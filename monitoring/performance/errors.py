"""What can be wrong with what is compared."""

from __future__ import annotations


class Unfit(Exception):
    """A sentence: these predictions and labels cannot be compared by this measure."""
