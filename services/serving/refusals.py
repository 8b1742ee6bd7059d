"""Why a request is not answered with predictions. Each knows its HTTP status, for this package is the HTTP edge.

Refusal
├── BadRequest     the caller's fault: 400, 404, 405, 406, 408, 413, 415 or 422
├── Overloaded     429: too many rows wait for the engine, or too many large bodies arrive
├── TooSlow        504: no answer in time
└── BadAnswer      500: the model failed, or answered NaN or infinity
"""

from __future__ import annotations


class Refusal(Exception):
    """A sentence for the caller. `unread`: of a body that is not all there; its connection is of no more use."""

    status = 500
    unread = False


class BadRequest(Refusal):
    def __init__(self, sentence: str, status: int = 422, *, unread: bool = False) -> None:
        super().__init__(sentence)
        self.status, self.unread = status, unread


class WrongMethod(BadRequest):
    def __init__(self, sentence: str, allowed: str) -> None:
        super().__init__(sentence, 405)
        self.allowed = allowed


class Overloaded(Refusal):
    status = 429

    def __init__(self, sentence: str, *, unread: bool = False) -> None:
        super().__init__(sentence)
        self.unread = unread


class TooSlow(Refusal):
    status = 504


class BadAnswer(Refusal):
    status = 500
