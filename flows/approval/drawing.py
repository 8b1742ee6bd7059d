"""What all pictures share: colours, text that every font has, and PNG. No window is opened, nothing global touched."""

from __future__ import annotations

import io
from typing import Any

from lockgate.flows.approval.words import line

STABLE, INK = "#2a6fb0", "#44525f"


def text(value: object) -> str:
    """What every font has; and no formula."""
    shown = "".join(char if char.isascii() or "¡" <= char <= "ÿ" else "?" for char in line(value, 60))
    return shown.replace("\\", "/").replace("$", r"\$")


def png(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
