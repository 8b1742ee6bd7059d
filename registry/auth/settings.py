"""What the environment must hold before the server may start."""

from __future__ import annotations

import os
from collections.abc import Mapping

from lockgate.registry.approvals import KEY
from lockgate.registry.auth.errors import NotStarted

AUDIT_URI = "LOCKGATE_AUDIT_URI"
"""The audit's database, by URL; where it is not set, the one that holds basic-auth's users."""
_SHORTEST = 16


def key(environment: Mapping[str, str] = os.environ) -> bytes:
    """What decisions are signed with. Raises `NotStarted`."""
    value = environment.get(KEY, "")
    if not value:
        raise NotStarted(
            f"what people decide is signed, and there is nothing to sign with: set {KEY} to the same secret here and "
            "where the pipeline runs, for instance to what `openssl rand -hex 32` prints"
        )
    if len(value) < _SHORTEST:
        raise NotStarted(
            f"{KEY} has {len(value)} characters; anybody who reads a signature could guess it. Take at least "
            f"{_SHORTEST}, for instance what `openssl rand -hex 32` prints"
        )
    return value.encode()


def uvicorn(environment: Mapping[str, str] = os.environ) -> None:
    """Raises `NotStarted` in a server that would not pass every request through our code."""
    kind = environment.get("_MLFLOW_SGI_NAME", "uvicorn")
    if kind != "uvicorn":
        raise NotStarted(
            f"the rules are asked in uvicorn, MLflow's own choice, and not in {kind}: leave --{kind}-opts out"
        )
