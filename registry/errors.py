"""What can go wrong in the registry.

RegistryError
├── RegistryDown       the registry does not answer
├── NoSuchVersion      model, alias or version is not there
├── Unusable           the version lacks what a rollout needs (signature, input example, a flavour we know)
├── Untrusted          loading the model would run code that nobody vouched for
└── Conflict           somebody moved the alias in the meantime
"""

from __future__ import annotations


class RegistryError(Exception):
    """A sentence: what is wrong, where, what to do."""


class RegistryDown(RegistryError):
    pass


class NoSuchVersion(RegistryError):
    pass


class Unusable(RegistryError):
    pass


class Untrusted(RegistryError):
    pass


class Conflict(RegistryError):
    pass
