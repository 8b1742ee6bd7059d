"""A page for people about one comparison, by Evidently: figures of a sample, under the verdict that decides.

Evidently takes seconds and 300 MiB, so it runs in a process of its own, with a limit on its time, on at most
`MOST_ROWS` rows of `MOST_COLUMNS` columns of each side. It is told what each column's verdict is and decides nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from lockgate.monitoring.drift.profile import Profile
from lockgate.monitoring.drift.reference import Rows
from lockgate.monitoring.drift.report_columns import MOST_ROWS, drawn
from lockgate.monitoring.drift.report_table import table
from lockgate.monitoring.drift.words import Comparison, Window


def html(
    profile: Profile, reference: Rows, window: Window, comparison: Comparison, within: float = 180.0
) -> bytes | str:
    """The page, or a sentence why there is none. `within`: seconds that Evidently may take."""
    import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    with tempfile.TemporaryDirectory(prefix="lockgate-drift-") as place:
        folder = Path(place)
        shown = drawn(profile, reference, window, comparison)
        if not shown:
            return "there is no report: no input has values on both sides"
        for side in ("reference", "live"):
            parquet.write_table(pa.table(getattr(shown, side)), folder / f"{side}.parquet")
        (folder / "verdicts.json").write_text(json.dumps(shown.verdicts), encoding="utf-8")
        if why := _made(folder, within):
            return f"there is no report: {why}"
        page = (folder / "report.html").read_bytes()
    return page.replace(b"<body>", b"<body>" + table(comparison, MOST_ROWS).encode(), 1)


def _made(folder: Path, within: float) -> str:
    """Why it was not, or nothing."""
    if find_spec("evidently") is None:
        return "Evidently is not installed; in a clone of Lockgate: pip install -c constraints.txt '.[monitoring]'"
    environment = {**os.environ, "DO_NOT_TRACK": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "lockgate.monitoring.drift.report_page", str(folder)]
    try:
        ended = subprocess.run(command, env=environment, capture_output=True, timeout=within, check=False)
    except subprocess.TimeoutExpired:
        return f"Evidently took longer than {within:g} s"
    if ended.returncode == 0:
        return ""
    last = (ended.stderr.decode(errors="replace").strip().splitlines() or ["nothing"])[-1]
    return f"Evidently ended with code {ended.returncode}; its last words were: {last[:300]}"
