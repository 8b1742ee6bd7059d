"""Python's own files beside a model's code: they would change folders that are compared with their digests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_VARIABLE = "PYTHONDONTWRITEBYTECODE"


def keep_out(folder: Path) -> None:
    """Before code that lies in `folder` is imported: from here on nothing is compiled to a `__pycache__`.

    Neither by this process, also when the model imports more of its code much later, nor by those that it starts. A
    model without code changes nothing: where libraries were installed without their bytecode, it is worth keeping.
    """
    if next(folder.rglob("*.py"), None) is not None:
        sys.dont_write_bytecode = True
        os.environ[_VARIABLE] = "1"
