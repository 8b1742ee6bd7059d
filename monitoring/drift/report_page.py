"""Evidently's part of the page, in a process of its own: `python -m lockgate.monitoring.drift.report_page FOLDER`.

The folder has `reference.parquet`, `live.parquet` and `verdicts.json`, and gets `report.html`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")  # numpy's and pandas', about Evidently
    import pandas as pd

    verdicts = json.loads((folder / "verdicts.json").read_text(encoding="utf-8"))
    reference, live = (pd.read_parquet(folder / f"{side}.parquet") for side in ("reference", "live"))
    (folder / "report.html").write_text(_page(reference, live, verdicts), encoding="utf-8")


def _page(reference: Any, live: Any, verdicts: dict[str, tuple[float, bool]]) -> str:
    from evidently import DataDefinition, Dataset, Report  # type: ignore[import-untyped, unused-ignore]

    numbers = [name for name in reference.columns if reference[name].dtype.kind == "f"]
    labels = [name for name in reference.columns if name not in numbers]
    about = DataDefinition(numerical_columns=numbers, categorical_columns=labels)
    sides = [Dataset.from_pandas(side, about) for side in (live, reference)]
    return str(Report([_preset(verdicts)]).run(*sides).get_html_str(as_iframe=False))


def _preset(verdicts: dict[str, tuple[float, bool]]) -> Any:
    """Evidently's table of columns, with our verdicts, and without its own about the whole."""
    from evidently.legacy.calculations.stattests import StatTest, register_stattest  # type: ignore[import-untyped, unused-ignore]
    from evidently.legacy.core import ColumnType  # type: ignore[import-untyped, unused-ignore]
    from evidently.presets import DataDriftPreset  # type: ignore[import-untyped, unused-ignore]

    class Columns(DataDriftPreset):  # type: ignore[misc]
        def render(self, *given: Any, **named: Any) -> Any:
            return super().render(*given, **named)[1:]

    ours = StatTest(
        name="lockgate",
        display_name="PSI, decided by Lockgate",
        allowed_feature_types=[ColumnType.Numerical, ColumnType.Categorical],
    )
    register_stattest(ours, lambda reference, _live, _kind, _threshold: tuple(verdicts[reference.name]))
    return Columns(num_method=ours, cat_method=ours)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
