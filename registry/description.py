"""A version's description: our evidence first, then a rule and whatever the version's author wrote.

Ours begins and ends with a sentence that people can read too. HTML comments would be invisible in MLflow's page, but a
person who edits the text should see where it is no longer theirs.
"""

from __future__ import annotations

import hashlib

FIRST = "*Written by Lockgate, down to the line that says so. An edit of it voids what is asked.*"
LAST = "*End of what Lockgate wrote.*"
ROOM = 5000
"""Characters of a whole description that PostgreSQL keeps."""
_GAP = "\n\n"
_RULE = "\n\n---\n\n"


def neat(evidence: str) -> str:
    """As it can be found again: line ends as a browser writes them, and no line in it that would end it."""
    lines = evidence.replace("\x00", "").replace("\r\n", "\n").replace("\r", "\n").strip("\n")
    return lines.replace(FIRST, FIRST.strip("*")).replace(LAST, LAST.strip("*"))


def joined(evidence: str, author: str) -> str:
    """The whole description; `evidence` is `neat`."""
    ours = _GAP.join((FIRST, evidence, LAST))
    return f"{ours}{_RULE}{author}" if author else ours


def evidence_of(text: str) -> str | None:
    """What stands there as evidence; None where none does. Whatever somebody wrote above ours is taken for a part."""
    found = _ours(text)
    if found is None:
        return None
    return text[: found[1]].removesuffix(LAST).removesuffix(_GAP).removeprefix(FIRST + _GAP)


def author_of(text: str) -> str:
    """Everything but ours, byte for byte. Where a person took one of our lines away, all of it is theirs."""
    found = _ours(text)
    if found is None:
        return text
    start, end = found
    return text[:start] + (text[end:].removeprefix(_RULE) if text[end:].startswith(_RULE) else text[end:].lstrip("\n"))


def sha(evidence: str) -> str:
    return hashlib.sha256(evidence.encode()).hexdigest()


def _ours(text: str) -> tuple[int, int] | None:
    """Where ours begins and ends."""
    start = text.find(FIRST)
    end = text.find(LAST, start) if start >= 0 else -1
    return (start, end + len(LAST)) if end >= 0 else None
