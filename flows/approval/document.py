"""The evidence as a value. Its digest is what a person approves; anybody can compute it: sha256 of evidence.json."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Links:
    """Where more is to be seen; empty where nothing is. They are no evidence: a new driver has another Prefect run."""

    prefect: str = ""
    grafana: str = ""
    mlflow: str = ""
    """Address of the server, for what is read outside of its pages."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was known when it was gathered. `document` is plain JSON; docs/evidence.md names its keys."""

    document: Mapping[str, Any]
    links: Links = Links()
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    """PNG by file name; empty without matplotlib."""

    @property
    def text(self) -> bytes:
        """The one way in which the document is written."""
        return json.dumps(self.document, sort_keys=True, indent=1, allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """sha256 of `text`, in hexadecimal digits."""
        return hashlib.sha256(self.text).hexdigest()

    @property
    def candidate(self) -> str:
        """The version that is to be promoted."""
        return str(self.document["change"]["candidate"]["version"])

    @property
    def stable(self) -> str:
        """The version that answers now."""
        return str(self.document["change"]["stable"]["version"])
