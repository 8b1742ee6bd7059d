"""What can go wrong with feedback.

FeedbackError
├── Unavailable   the database, or another source, cannot be used now
├── Invalid       rows that say something impossible; `sentences` has one for each mistake
├── Refused       the server's answer to such rows, as the client sees it
└── Unsettled     settings.json cannot be used
"""

from __future__ import annotations

from collections.abc import Sequence


class FeedbackError(Exception):
    """A sentence, with what to do next."""


class Unavailable(FeedbackError):
    """A database or another source that cannot be used now. Trying again later may help."""


class Invalid(FeedbackError):
    """Rows of which nothing is kept."""

    def __init__(self, sentences: Sequence[str]) -> None:
        super().__init__("; ".join(sentences))
        self.sentences = tuple(sentences)


class Refused(Invalid):
    """What the server refused, in its own sentences. `status`: of its answer."""

    def __init__(self, sentences: Sequence[str], status: int = 422) -> None:
        super().__init__(sentences)
        self.status = status


class Unsettled(FeedbackError):
    """Settings that cannot be used."""
