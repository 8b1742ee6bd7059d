"""Why a request is not answered with predictions. Each knows its HTTP status, for this package is the HTTP edge.

Refusal
├── BadRequest     the caller's fault: 400, 408, 413, 415 or 422
├── Overloaded     429: too many rows wait for the engine
├── TooSlow        504: no answer in time
└── BadAnswer      500: the model failed, or answered NaN or infinity
"""

from __future__ import annotations


class Refusal(Exception):
    """A sentence for the caller."""

    status = 500


class BadRequest(Refusal):
    def __init__(self, sentence: str, status: int = 422) -> None:
        super().__init__(sentence)
        self.status = status


class Overloaded(Refusal):
    status = 429


class TooSlow(Refusal):
    status = 504


class BadAnswer(Refusal):
    status = 500
