"""Where Lockgate keeps what it knows: `$LOCKGATE_HOME` (default `~/.lockgate`), and the store at `$LOCKGATE_STATE_URL`.

lockgate.db            the rollouts' event log, unless the URL says otherwise
models/                downloaded model versions, by digest
artifacts/             compiled models, by digest
references/            profiles of what they were trained on
<name>/router/         Envoy's files, logs and socket of one spec
<name>/replicas/       that spec's replicas
<name>/external/       where versions of that spec are served by somebody else
<name>/capture/        what they keep of the live traffic
<name>/feedback/       what users did after they were answered, and the server that takes it in
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from lockgate.flows.errors import MissingPart


@dataclass(frozen=True, slots=True)
class Home:
    root: Path
    store_url: str

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def references(self) -> Path:
        return self.root / "references"

    def router(self, name: str) -> Path:
        return self.root / name / "router"

    def replicas(self, name: str) -> Path:
        return self.root / name / "replicas"

    def external(self, name: str) -> Path:
        return self.root / name / "external"

    def capture(self, name: str) -> Path:
        return self.root / name / "capture"

    def feedback(self, name: str) -> Path:
        return self.root / name / "feedback"


def home() -> Home:
    """Raises `MissingPart` for a folder in which everybody may put files: models are loaded from there."""
    root = Path(os.environ.get("LOCKGATE_HOME", "~/.lockgate")).expanduser().absolute()
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    if root.stat().st_mode & stat.S_IWOTH:
        raise MissingPart(f"everybody may write to {root}, where models are kept: `chmod o-w` it, or set LOCKGATE_HOME")
    return Home(root, os.environ.get("LOCKGATE_STATE_URL") or f"sqlite:///{root / 'lockgate.db'}")
