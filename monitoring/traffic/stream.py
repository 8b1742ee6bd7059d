"""One Arrow IPC stream that may still grow.

Pyarrow's reader cannot go on after it met the end of a file that has since grown. So the messages are found here, by
their length prefixes, and the reader is only ever fed whole ones up to the next record batch.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

from lockgate.monitoring.traffic.errors import Unreadable
from lockgate.monitoring.traffic.form import Wanted, chosen, refusal

BROKEN = (pa.ArrowException, OSError, ValueError, EOFError, MemoryError)
"""What pyarrow raises about a file that is no whole file of its kind."""

_CONTINUES = b"\xff\xff\xff\xff"
_BATCH = 3
"""The header type of a record batch in Arrow's Message.fbs; a schema is 1, a dictionary 2."""
_LONGEST = 2**30


class Growing:
    """Hands out the stream's complete batches in turn. `rows`: how many rows it has handed out or passed over."""

    def __init__(self, path: Path, wanted: Wanted | None = None) -> None:
        self.path = path
        self._wanted = wanted
        self.rows = 0
        self.offset = 0
        self._broken = False
        self._fed = _Fed()
        self._reader: Any = None

    def next(self) -> Any | None:
        """The next record batch; None while there is no complete one, and where the file has gone.

        Raises `Unreadable`. It goes on behind a batch that is damaged; behind anything else there is no way on.
        """
        try:
            batch = None if self._broken else self._following()
        except FileNotFoundError:
            return None
        except (Unreadable, *BROKEN) as reason:
            self._broken = True
            raise Unreadable(one_line(reason)) from reason
        if batch is not None:
            whole(batch)
        return batch

    def _following(self) -> Any | None:
        with self.path.open("rb") as file:
            file.seek(self.offset)
            messages = _until_batch(file)
        if messages is None:
            return None
        batch = self._read(messages)
        self.offset += len(messages)
        self.rows += batch.num_rows
        return batch

    def _read(self, messages: bytes) -> Any:
        self._fed.waiting += messages
        if self._reader is None:
            self._reader = pa.ipc.open_stream(pa.PythonFile(self._fed, mode="r"))
            if why := refusal(self._reader.schema):
                raise Unreadable(why)
        return _only(self._reader.read_next_batch(), self._wanted)


def _only(batch: Any, wanted: Wanted | None) -> Any:
    """The columns that are wanted, copied: a view would keep the others in memory too."""
    names = chosen(batch.schema.names, wanted)
    if len(names) == batch.num_columns:
        return batch
    return batch.select(names).take(pa.array(range(batch.num_rows), pa.int64()))


def whole(batch: Any) -> None:
    """Raises `Unreadable` about offsets that lie, which would take the process down later."""
    try:
        batch.validate(full=True)
    except BROKEN as reason:
        raise Unreadable(f"{batch.num_rows} rows are damaged: {one_line(reason)}") from reason


def one_line(reason: BaseException) -> str:
    return (str(reason).splitlines() or [type(reason).__name__])[0][:200]


def _until_batch(file: BinaryIO) -> bytes | None:
    """All messages up to and with the next record batch, which dictionaries may precede."""
    found = b""
    while (message := _message(file)) is not None:
        found += message[1]
        if message[0] == _BATCH:
            return found
    return None


class _Fed:
    """The reader's file: it holds what was put into it."""

    closed = False

    def __init__(self) -> None:
        self.waiting = b""

    def read(self, count: int) -> bytes:
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken


def _message(file: BinaryIO) -> tuple[int, bytes] | None:
    """The next message's header type and bytes; None at the stream's end and where it is torn."""
    prefix = file.read(8)
    if len(prefix) < 8 or not any(prefix[4:]):
        return None
    if prefix[:4] != _CONTINUES:
        raise Unreadable("it is no Arrow stream, or it broke off and was written on")
    (length,) = struct.unpack_from("<i", prefix, 4)
    if not 0 < length < _LONGEST:
        raise Unreadable(f"a message says that its header has {length} bytes")
    header = file.read(length)
    if len(header) < length:
        return None
    kind, size = _kind_and_size(header)
    body = file.read(size)
    return None if len(body) < size else (kind, prefix + header + body)


def _kind_and_size(header: bytes) -> tuple[int, int]:
    """Fields 1 and 3 of Arrow's flatbuffer table Message: the type of its header, and the length of its body."""
    try:
        (table,) = struct.unpack_from("<I", header)
        vtable = table - struct.unpack_from("<i", header, table)[0]
        (length,) = struct.unpack_from("<H", header, vtable)
        fields = struct.unpack_from(f"<{length // 2}H", header, vtable)[2:]
        size = struct.unpack_from("<q", header, table + fields[3])[0] if fields[3:] and fields[3] else 0
        kind = header[table + fields[1]]
    except (struct.error, IndexError) as reason:
        raise Unreadable("a message's header is damaged") from reason
    if not 0 <= size < _LONGEST:
        raise Unreadable(f"a message says that it has {size} bytes")
    return kind, size
