"""Which exit code each kind of end has."""

from __future__ import annotations

import errno
from enum import IntEnum

from lockgate.flows.errors import FlowError
from lockgate.registry.errors import NoSuchVersion, RegistryDown, RegistryError, Untrusted, Unusable
from lockgate.rollout.errors import (
    AlreadyOpen,
    Fenced,
    NoRollout,
    NotNow,
    RolloutError,
    RouterError,
    StoreDown,
    Unreadable,
)
from lockgate.rollout.state import State
from lockgate.rollout.words import Phase
from lockgate.services.errors import ServiceError


class Exit(IntEnum):
    DONE = 0
    """Promoted, or there was nothing to do."""
    UNEXPECTED = 1
    BAD_SPEC = 2
    MISSING_PART = 3
    ROLLED_BACK = 10
    UNDECIDED = 11
    REFUSED = 12
    """The candidate cannot be served: not there, no signature, parity, not ready."""
    BUSY = 13
    """Somebody else drives the rollout, or the model has another open one."""
    NOT_VERIFIED = 14
    """A rollout's log does not bear out what was decided, or cannot be read."""


_BY_ERROR: tuple[tuple[type[Exception], Exit], ...] = (
    (RegistryDown, Exit.MISSING_PART),
    (RouterError, Exit.MISSING_PART),
    (Unreadable, Exit.NOT_VERIFIED),
    (StoreDown, Exit.MISSING_PART),
    (NoSuchVersion, Exit.REFUSED),
    (Unusable, Exit.REFUSED),
    (Untrusted, Exit.REFUSED),
    (ServiceError, Exit.REFUSED),
    (AlreadyOpen, Exit.BUSY),
    (Fenced, Exit.BUSY),
    (NotNow, Exit.BAD_SPEC),
    (NoRollout, Exit.BAD_SPEC),
    (RegistryError, Exit.MISSING_PART),
    (RolloutError, Exit.UNEXPECTED),
)


def code_of(error: BaseException) -> int | None:
    """The exit code of an error that was foreseen; None for one that was not."""
    if isinstance(error, FlowError):
        return error.code
    if isinstance(error, OSError) and disk_full(error):
        return int(Exit.MISSING_PART)
    return next((int(code) for kind, code in _BY_ERROR if isinstance(error, kind)), None)


def disk_full(error: OSError) -> bool:
    """Whether there is no room to write to: nothing is wrong that room would not mend."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def code_of_end(state: State) -> Exit:
    """The exit code of a rollout that is over."""
    if state.phase is Phase.SUCCEEDED:
        return Exit.DONE
    if state.phase is Phase.FAILED:
        return Exit.REFUSED if state.ending == "refused" else Exit.ROLLED_BACK
    return Exit.UNDECIDED if state.ending in {"undecided", "expired"} else Exit.ROLLED_BACK
