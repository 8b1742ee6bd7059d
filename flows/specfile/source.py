"""From a file to text."""

from __future__ import annotations

from pathlib import Path

from lockgate.flows.errors import Problem, SpecError

LARGEST = 2**20
"""Bytes. A spec has a few kilobytes; whatever is larger was named by mistake."""


def read(path: Path | str) -> str:
    """The text of a spec file. Raises `SpecError`."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except FileNotFoundError:
        raise _refused(path, "there is no such file; `lockgate init MODEL` writes one") from None
    except IsADirectoryError:
        raise _refused(path, "this is a folder; name the file in it") from None
    except (OSError, ValueError) as error:
        raise _refused(path, f"the file cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(content) > LARGEST:
        raise _refused(path, "the file is larger than 1 MiB; a spec has a few kilobytes")
    return _decoded(path, content)


def _decoded(path: Path | str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"the byte 0x{content[error.start]:02x} is not UTF-8 text; save the file as UTF-8"
        raise SpecError(str(path), [Problem(line, "", message)]) from None


def _refused(path: Path | str, message: str) -> SpecError:
    return SpecError(str(path), [Problem(0, "", message)])
