"""MLflow's client: quiet, quick to give up, and with our errors."""

from __future__ import annotations

import importlib
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .errors import Refused, RegistryDown
from .location import Location, without_password

# A dead server is noticed within about ten seconds; MLflow's own figures are two minutes and seven retries.
_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
_LOUD = {
    "mlflow": logging.WARNING,
    "alembic": logging.WARNING,
    "mlflow.store.db.utils": logging.CRITICAL,  # prints a traceback for every error that it also raises
    "urllib3.connectionpool": logging.ERROR,  # one line per retry; the last one raises
}
_SAME_ROW = re.compile(r"UNIQUE constraint|UniqueViolation|duplicate key|Duplicate entry|IntegrityError", re.IGNORECASE)
_NOT_ALLOWED = re.compile(r"\b(401|403)\b|PERMISSION_DENIED|UNAUTHENTICATED", re.IGNORECASE)
# What is left of an HTTP client's nested errors when a person shall read it.
_UNREACHED = re.compile(
    r"Connection refused|timed out|Name or service not known|Temporary failure in name resolution|"
    r"No route to host|Network is unreachable|Connection reset by peer|certificate verify failed",
    re.IGNORECASE,
)
_BODY = re.compile(r"Response body: '(.*)'", re.DOTALL)
_CODE = re.compile(r"^[A-Z_]+: ")
_ATTEMPTS = 10


def quiet_mlflow() -> Any:
    """The mlflow module, imported now: it costs a second of CPU."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name, level in _LOUD.items():
        logger = logging.getLogger(name)
        logger.setLevel(max(level, logger.level))
    return mlflow


def quiet_import(module: str) -> Any:
    """A module of MLflow's, without the warnings that it has about its own code."""
    quiet_mlflow()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)


@contextmanager
def asking(where: Location) -> Iterator[None]:
    """Turns what MLflow, its HTTP client and its database raise into `RegistryDown` with a sentence."""
    mlflow = quiet_mlflow()
    import requests
    import sqlalchemy

    try:
        yield
    except ImportError as error:
        raise RegistryDown(f"MLflow at {where} needs a package that is not here ({error}): install it.") from error
    except (mlflow.MlflowException, requests.RequestException, sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        raise RegistryDown(_sentence(where, error)) from error


@contextmanager
def permitted(where: Location) -> Iterator[None]:
    """Turns what MLflow's server forbids this person, inside `asking`, into `Refused` with the server's sentence."""
    mlflow = quiet_mlflow()
    try:
        yield
    except mlflow.MlflowException as error:
        code = getattr(error, "error_code", "")
        if code == "PERMISSION_DENIED":
            raise Refused(f"MLflow at {where} does not let you: {servers_words(error)}.") from error
        if code == "UNAUTHENTICATED":
            raise Refused(
                f"MLflow at {where} does not know who you are. Set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to your own."
            ) from error
        raise


def connect(where: Location) -> Any:
    """MLflow's client. Raises `RegistryDown` where there is no MLflow."""
    where.require()
    with asking(where):
        return quiet_mlflow().MlflowClient(tracking_uri=where.tracking, registry_uri=where.registry)


def says_missing(error: Exception) -> bool:
    """MLflow answered, and has no such model, alias or version."""
    code = getattr(error, "error_code", "")
    return code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}


def write(action: Callable[[], object]) -> None:
    """Again when somebody inserted the same row at the same moment: MLflow reads, then inserts, and one of two loses.

    The winner's row is there when the loser is told, so the next attempt is an update and needs no pause.
    """
    mlflow = quiet_mlflow()
    for attempt in range(_ATTEMPTS):
        try:
            action()
        except mlflow.MlflowException as error:
            if attempt == _ATTEMPTS - 1 or not _SAME_ROW.search(str(error)):
                raise
        else:
            return


def servers_words(error: BaseException) -> str:
    """What MLflow's server answered, without what its client puts before it."""
    body = _BODY.search(str(error))
    words = body[1] if body else _CODE.sub("", str(error))
    return without_password(" ".join(words.split()))[:600].rstrip(".")


def first_line(error: BaseException) -> str:
    """An error's first line without passwords, short enough for a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_password(lines[0])[:300].rstrip(".")


def _sentence(where: Location, error: BaseException) -> str:
    plain = _UNREACHED.search(str(error))
    reason = plain.group().lower() if plain else first_line(error)
    if _NOT_ALLOWED.search(reason):
        return (
            f"MLflow at {where} refuses us ({reason}). Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
            "MLFLOW_TRACKING_TOKEN, to somebody who may edit the registered model."
        )
    return (
        f"MLflow at {where} does not answer as it should ({reason}). Check that it runs and that MLFLOW_TRACKING_URI "
        "names it, then repeat."
    )
