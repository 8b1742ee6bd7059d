"""Follows captured traffic while it is written: each row comes once, whether from a stream or from its Parquet file."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]
import pyarrow.compute as pc  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import GROWING, ROTATED, Wanted, prefix, started
from lockgate.monitoring.traffic.rotated import Rotated
from lockgate.monitoring.traffic.stream import Growing

_CLOCKS = 60.0
"""A file last written this long before `since` holds nothing that came after it."""


class Tail:
    """Of the sides with these digests: the rows that were answered at `since` (unix seconds) or later.

    `wanted`: which columns are read, all by default. The others cost no memory; `at` is always there.
    """

    def __init__(self, folder: Path, digests: Collection[str], since: float, wanted: Wanted | None = None) -> None:
        self._folder, self._columns = folder, wanted
        self._folders = {folder / prefix(digest) for digest in digests if digest}
        self._since = since
        self._oldest = pa.scalar(int(since * 1e6), pa.int64()).cast(pa.timestamp("us", "UTC"))
        self._files: dict[Path, _File] = {}
        self._problems: dict[Path, str] = {}

    def came(self, limit: int = 20_000, most: int = 32 * 2**20) -> list[Any]:
        """The record batches that are new since the last call; they may differ in their columns.

        Once there are `limit` rows or `most` bytes no further batch is read: call again, until nothing comes.
        """
        self._look()
        ready = [file for file in self._files.values() if file.more]
        found: list[Any] = []
        rows = size = 0
        while ready and rows < limit and size < most:
            # What lags most comes first, so that both answers to one request come close together.
            file = min(ready, key=lambda file: file.at)
            batch = self._next(file)
            if batch is None:
                ready.remove(file)
            elif (wanted := self._wanted(batch)).num_rows:
                found.append(wanted)
                rows, size = rows + wanted.num_rows, size + wanted.nbytes
        return found

    @property
    def problems(self) -> tuple[str, ...]:
        """What cannot be read, as sentences; the rest is read all the same."""
        return tuple(self._problems[path] for path in sorted(self._problems))

    def problem(self, digest: str) -> str:
        """What cannot be read of one side, or nothing."""
        of_side = self._folder / prefix(digest)
        about = self._folder, of_side, *sorted(path for path in self._problems if path.parent == of_side)
        return next((self._problems[path] for path in about if path in self._problems), "")

    def _look(self) -> None:
        seen: dict[Path, dict[str, os.stat_result]] = {}
        problems: dict[Path, str] = {}
        if not os.access(self._folder, os.F_OK):
            problems[self._folder] = f"nothing is captured: {self._folder} does not exist"
        for folder in self._folders:
            try:
                seen |= _stems(folder)
            except FileNotFoundError:
                continue  # nothing of this side was captured yet
            except OSError as reason:
                problems[folder] = f"{folder} cannot be read: {reason.strerror}"
        self._files = {stem: self._files.get(stem) or _File(stem, self._columns) for stem in sorted(seen)}
        self._problems = {path: says for path, says in self._problems.items() if path in seen} | problems
        for stem, stats in seen.items():
            if self._files[stem].look(stats, self._since - _CLOCKS):
                self._problems.pop(stem, None)

    def _next(self, file: _File) -> Any | None:
        try:
            batch = file.next()
        except Unreadable as reason:
            self._problems[file.stem] = f"{file.path} cannot be read and is left out: {reason}"
            return None
        if batch is not None and batch.num_rows:
            file.at = max(file.at, _seconds(pc.max(batch.column("at"))))
        return batch

    def _wanted(self, batch: Any) -> Any:
        at = batch.column("at").cast(self._oldest.type, safe=False)
        fresh = pc.fill_null(pc.greater_equal(at, self._oldest), fill_value=False)
        return batch if pc.all(fresh).as_py() else batch.filter(fresh)


class _File:
    """One stem: a stream, and then the Parquet file with the same rows. `at`: how far it was read, in unix seconds."""

    def __init__(self, stem: Path, wanted: Wanted | None) -> None:
        self.stem = stem
        self._wanted = wanted
        self.path = stem
        self.at = started(stem)
        self.more = False
        self._source: Growing | Rotated | None = None
        self._seen: tuple[str, int, int] | None = None

    def look(self, stats: Mapping[str, os.stat_result], since: float) -> bool:
        """Whether it is read anew. Where both files are there, the Parquet file counts."""
        suffix = ROTATED if ROTATED in stats else GROWING
        now = stats[suffix]
        seen = suffix, now.st_size, now.st_mtime_ns
        if seen == self._seen or now.st_mtime < since:
            return False
        self._seen, self.more = seen, True
        self.path = self.stem.with_name(self.stem.name + suffix)
        if suffix == ROTATED:
            self._source = Rotated(self.path, self._source.rows if self._source else 0, self._wanted)
        elif self._source is None:
            self._source = Growing(self.path, self._wanted)
        return suffix == ROTATED

    def next(self) -> Any | None:
        """Raises `Unreadable`, and then not again before the file changes."""
        self.more = False
        batch = self._source.next() if self._source else None
        self.more = batch is not None
        return batch


def _stems(folder: Path) -> dict[Path, dict[str, os.stat_result]]:
    found: dict[Path, dict[str, os.stat_result]] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = Path(entry.name)
            if path.suffix in (GROWING, ROTATED):
                try:
                    found.setdefault(folder / path.stem, {})[path.suffix] = entry.stat()
                except FileNotFoundError:
                    continue  # rotated or deleted this moment
    return found


def _seconds(at: Any) -> float:
    micros = at.cast(pa.timestamp("us", "UTC"), safe=False).value
    return float(micros or 0) / 1e6
