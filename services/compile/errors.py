"""What can go wrong with one candidate; the search goes on with the others.

CompileError
├── Unsupported    this pair of model and target makes no sense, or this machine cannot
├── Lost           the process crashed, hung past its limit or ate its memory
└── Unservable     the source model itself cannot be served in batches: no target can help
"""

from __future__ import annotations


class CompileError(Exception):
    """A sentence without its full stop: it goes into a line of the table."""


class Unsupported(CompileError):
    pass


class Lost(CompileError):
    pass


class Unservable(CompileError):
    pass
