"""What `mlflow server --app-name lockgate-auth` starts; nobody else imports this module.

MLflow imports it twice: in the command, where it only looks whether `create_app` is a function, and in every worker.
The first is the one moment at which what is wrong can be said once, and the command can end.
"""

from __future__ import annotations

import os

from lockgate.registry.auth import plugin
from lockgate.registry.auth.errors import NotStarted
from lockgate.registry.auth.marked import Marked

_IN_WORKER = "_MLFLOW_SGI_NAME" in os.environ


def create_app() -> Marked:
    """The ASGI application; ends the process with a sentence where it cannot be had."""
    try:
        return plugin.create()
    except NotStarted as error:
        raise SystemExit(f"lockgate-auth: {error}.") from error


if not _IN_WORKER:
    try:
        plugin.prepare()
    except NotStarted as error:
        raise SystemExit(f"lockgate-auth: {error}.") from error
