"""What can go wrong in the registry.

RegistryError
├── RegistryDown       the registry does not answer
├── NoSuchVersion      model, alias or version is not there
├── Unusable           the version lacks what a rollout needs (signature, input example, a flavour we know)
├── Untrusted          loading the model would run code that nobody vouched for
├── Refused            the registry's server does not let this person do this
├── BadDelivery        a webhook's delivery is not believed (registry/deliveries.py)
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


class Refused(RegistryError):
    pass


class Conflict(RegistryError):
    pass
