"""One Parquet file that a stream was rotated into."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import Wanted, chosen, refusal
from lockgate.monitoring.traffic.stream import BROKEN, one_line, whole

_ROWS = 8192


class Rotated:
    """Hands out the file's rows in batches, but for the first `skipped` ones: the stream gave those already."""

    def __init__(self, path: Path, skipped: int = 0, wanted: Wanted | None = None) -> None:
        self.path = path
        self.rows = skipped
        self._batches = _batches(path, skipped, wanted)

    def next(self) -> Any | None:
        """The next record batch; None at the end, and where the file has gone. Raises `Unreadable`, once."""
        try:
            batch = next(self._batches, None)
            if batch is not None:
                self.rows += batch.num_rows
                whole(batch)
        except FileNotFoundError:
            return None
        except (Unreadable, *BROKEN) as reason:
            raise Unreadable(one_line(reason)) from reason
        return batch


def _batches(path: Path, skipped: int, wanted: Wanted | None) -> Iterator[Any]:
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    with path.open("rb") as opened, parquet.ParquetFile(opened) as file:
        if why := refusal(file.schema_arrow):
            raise Unreadable(why)
        groups = list(range(file.metadata.num_row_groups))
        while groups and skipped >= file.metadata.row_group(groups[0]).num_rows:
            skipped -= file.metadata.row_group(groups.pop(0)).num_rows
        names = chosen(file.schema_arrow.names, wanted)
        for read in file.iter_batches(_ROWS, groups, names) if groups else ():
            batch = read.select(names)  # a name may begin like another: both were read
            if skipped < batch.num_rows:
                yield batch.slice(skipped)
            skipped = max(0, skipped - batch.num_rows)
