"""What can go wrong with one candidate; the search goes on with the others.

CompileError
├── Unsupported    this pair of model and target makes no sense, or this machine cannot
│   └── NotMade    what several candidates begin with (an export) failed
├── Lost           the process crashed, hung past its limit or ate its memory
└── Unservable     the source model itself cannot be served in batches: no target can help
"""

from __future__ import annotations


class CompileError(Exception):
    """A sentence without its full stop: it goes into a line of the table."""


class Unsupported(CompileError):
    pass


class NotMade(Unsupported):
    """What several candidates begin with could not be made."""


class Lost(CompileError):
    pass


class Unservable(CompileError):
    pass
