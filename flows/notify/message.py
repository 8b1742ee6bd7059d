"""What somebody is told, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Mood(Enum):
    """How services that colour messages colour it."""

    PLAIN = "plain"
    ASKS = "asks"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Message:
    """`facts` is the same for programs: its names stay as they are."""

    title: str
    text: str
    facts: Mapping[str, Any]
    mood: Mood = Mood.PLAIN


def test_message(name: str) -> Message:
    """Asks nothing of anybody."""
    text = f"This is a test: what becomes of the rollouts of {name} will be told here. There is nothing to do."
    return Message(f"{name}: test", text, {"version": 1, "event": "test", "name": name})
