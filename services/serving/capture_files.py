"""Files of captured traffic: an Arrow stream while it grows, Parquet when it is full.

A stream is readable up to its last batch whenever its writer is killed. Whoever writes one holds a lock on it, so that
the others know which were left behind.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

STREAM, PARQUET, NEW = ".arrows", ".parquet", ".new"
_BUFFER = 2**18


class Stream:
    """One growing file. `started`: of the clock that its owner rotates by. Raises `OSError`, as its methods do."""

    def __init__(self, folder: Path, replica: str, schema: Any, started: float) -> None:
        import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

        self.schema, self.started = schema, started
        self.size = 0
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.mkdir(exist_ok=True, mode=0o700)
        self.path = _unused(folder, replica)
        new = self.path.with_name(self.path.name + NEW)
        self._lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file = pa.OSFile(str(new), "wb")
            self._sink = pa.BufferedOutputStream(self._file, _BUFFER)
            self._writer = pa.ipc.new_stream(self._sink, schema)
            new.rename(self.path)  # only now, with the lock held, do others see it
        except BaseException:
            os.close(self._lock)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
            raise

    @property
    def there(self) -> bool:
        """Whether anybody can find it: a folder may be deleted under a writer, who notices nothing."""
        return os.fstat(self._lock).st_nlink > 0

    def holds(self, schema: Any) -> bool:
        return schema is self.schema or bool(self.schema.equals(schema, check_metadata=True))

    def write(self, batches: list[Any]) -> int:
        """The bytes that the file has grown by; all of them are the system's now, and survive this process."""
        before = self.size
        for batch in batches:
            self._writer.write_batch(batch)
        self._sink.flush()
        self.size = self._sink.tell()
        return self.size - before

    def abandon(self) -> None:
        """After an error: what was written before it stays, and becomes Parquet when the disk works again."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, self.size)
        os.close(self._lock)

    def finish(self) -> None:
        """As Parquet. When that fails the stream stays, and is a leftover."""
        try:
            self._writer.close()
            self._sink.close()
            if self.there:
                _convert(self.path)
        finally:
            os.close(self._lock)


def _unused(folder: Path, replica: str) -> Path:
    started = time.time_ns() // 1_000_000
    while any(folder.glob(f"{replica}-{started}.*")):
        started += 1
    return folder / f"{replica}-{started}{STREAM}"


def leftovers(folder: Path) -> None:
    """Streams whose writer is gone become Parquet. Raises the first error, once every one was tried."""

    def rotate(stream: Path) -> None:
        with _free(stream) as free:
            if free:
                _convert(stream)

    _each(sorted(folder.glob(f"*{STREAM}")), rotate)


def retain(root: Path, keep: float, max_size: int, now: float) -> None:
    """Delete what is older than `keep` seconds, and the oldest of each folder beyond `max_size` bytes.

    `root` has a folder for each artifact: also those that no replica serves any more are looked at. Raises the first
    error, once every file was tried.
    """

    def age(folder: Path) -> None:
        try:
            _retain(folder, now - keep, max_size)
        finally:
            if folder.stat().st_mtime < now - keep:
                with contextlib.suppress(OSError):
                    folder.rmdir()  # when nothing is left in it

    _each([folder for folder in root.iterdir() if folder.is_dir()], age)


def _retain(folder: Path, since: float, max_size: int) -> None:
    found = []
    for path in folder.glob("*.*"):
        with contextlib.suppress(FileNotFoundError):
            stat = path.stat()
            found.append((stat.st_mtime, stat.st_size, path))
    total = sum(size for _, size, _ in found)
    sizes = {path: (modified, size) for modified, size, path in sorted(found)}

    def age(path: Path) -> None:
        nonlocal total
        modified, size = sizes[path]
        if modified < since or total > max_size:
            with _free(path) as free:
                if free:
                    path.unlink(missing_ok=True)
                    total -= size

    _each(sizes, age)


def _each(paths: Iterable[Path], do: Callable[[Path], None]) -> None:
    """One bad file must not keep the others waiting: the first error is raised when all were tried."""
    first: Exception | None = None
    for path in paths:
        try:
            do(path)
        except Exception as failed:  # noqa: BLE001 - Arrow raises anything about a damaged file
            first = first or failed
    if first is not None:
        raise first


@contextlib.contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Whether nobody writes this file; while we look at it, nobody else takes it."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield os.fstat(handle).st_nlink > 0  # another may have converted it since we opened it
    finally:
        os.close(handle)


def _convert(stream: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet  # type: ignore[import-untyped, unused-ignore]

    batches = list(_batches(stream))
    if batches:
        table = pa.Table.from_batches(batches).unify_dictionaries()
        words = [field.name for field in table.schema if pa.types.is_dictionary(field.type)]
        new = stream.with_suffix(PARQUET + NEW)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            parquet.write_table(table, str(new), compression="zstd", use_dictionary=words)
            os.fsync(handle)
            new.rename(stream.with_suffix(PARQUET))
        except BaseException:
            new.unlink(missing_ok=True)  # half a file on a full disk would only make it fuller
            raise
        finally:
            os.close(handle)
    stream.unlink(missing_ok=True)


def _batches(stream: Path) -> Iterator[Any]:
    """Those that are complete: a killed writer's last one may be torn."""
    import pyarrow as pa

    if stream.stat().st_size == 0:
        return
    with pa.memory_map(str(stream)) as source:
        try:
            reader = pa.ipc.open_stream(source)
            while True:
                batch = reader.read_next_batch()
                batch.validate(full=True)  # a damaged one would end the process
                yield batch
        except (StopIteration, pa.ArrowInvalid, OSError):
            return
