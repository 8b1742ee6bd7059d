"""Where MLflow is: the URIs, as MLflow would choose them, and how to name them without their passwords."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import RegistryDown


@dataclass(frozen=True, slots=True)
class Location:
    """`tracking` keeps the models' files, `registry` their names; mostly they are the same."""

    tracking: str
    registry: str

    def __str__(self) -> str:
        return without_password(self.registry)

    def require(self) -> None:
        """Raise `RegistryDown` for a SQLite file that is not there: MLflow would create an empty one and go on."""
        path = sqlite_file(self.registry)
        if path is None or path.is_file():
            return
        raise RegistryDown(
            f"There is no MLflow database at {path}. Set MLFLOW_TRACKING_URI to your MLflow, for example "
            "http://127.0.0.1:5000 or sqlite:////full/path/of/mlflow.db, or start in the folder that holds mlflow.db."
        )


def locate(tracking_uri: str | None = None) -> Location:
    """An explicit URI beats the environment, and the environment beats `mlflow.db` in the working folder."""
    if tracking_uri:
        absolute = _absolute(tracking_uri)
        return Location(absolute, absolute)
    tracking = _absolute(os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db")
    return Location(tracking, _absolute(os.environ.get("MLFLOW_REGISTRY_URI") or tracking))


def sqlite_file(uri: str) -> Path | None:
    """The file behind `sqlite:///`; None for any other URI, and for one with options that only SQLAlchemy knows."""
    if not uri.startswith("sqlite:///") or "?" in uri:
        return None
    path = uri.removeprefix("sqlite:///")
    return Path(path).absolute() if path and not path.startswith(":") else None


def without_password(text: str) -> str:
    """`http://user:secret@host` in any sentence becomes `http://host`; options of a URI go as well."""
    text = re.sub(r"(\b[a-z][a-z0-9+.-]*://)[^/\s@'\"]*@", r"\1", text, flags=re.IGNORECASE)
    return re.sub(r"(\b[a-z][a-z0-9+.-]*://[^\s?'\"]*)\?[^\s'\"]*", r"\1", text, flags=re.IGNORECASE)


def _absolute(uri: str) -> str:
    """A relative SQLite path stays where it is when the process changes its folder."""
    path = sqlite_file(uri)
    return uri if path is None else f"sqlite:///{path}"
