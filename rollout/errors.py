"""What can go wrong in a rollout.

RolloutError
├── RouterError
│   ├── RouterDown       the data plane does not run or does not answer
│   └── RouterRefused    the data plane kept what it served before
├── SourceDown           no measurements to be had
├── StoreDown            the store does not answer
│   └── Unreadable       what it holds is damaged, or a newer version wrote it
├── AlreadyOpen          the model has an open rollout
├── NoRollout            there is no such rollout
├── NotNow               the rollout's phase does not allow this command
└── Fenced               another controller drives this rollout
"""

from __future__ import annotations


class RolloutError(Exception):
    """A sentence: what is wrong, where, what to do."""


class RouterError(RolloutError):
    pass


class RouterDown(RouterError):
    pass


class RouterRefused(RouterError):
    pass


class SourceDown(RolloutError):
    pass


class StoreDown(RolloutError):
    pass


class Unreadable(StoreDown):
    """No waiting mends it."""


class AlreadyOpen(RolloutError):
    pass


class NoRollout(RolloutError):
    pass


class NotNow(RolloutError):
    pass


class Fenced(RolloutError):
    pass
