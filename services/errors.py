"""What can go wrong between a model version and a served bento.

ServiceError
├── NoTarget           no target of the spec can compile this model on this machine
├── ParityFailed       compiled outputs differ from the source model's
├── PackagingFailed    the bento could not be built
└── NotReady           a replica did not become ready
"""

from __future__ import annotations


class ServiceError(Exception):
    """A sentence: what is wrong, where, what to do."""


class NoTarget(ServiceError):
    pass


class ParityFailed(ServiceError):
    pass


class PackagingFailed(ServiceError):
    pass


class NotReady(ServiceError):
    pass
