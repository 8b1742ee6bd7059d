"""A fetched model version as the compilers know it."""

from __future__ import annotations

from pathlib import Path

from lockgate.registry.cache import digest_of
from lockgate.registry.errors import Unusable
from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust
from lockgate.registry.words import FetchedModel
from lockgate.services.compile.bytecode import keep_out
from lockgate.services.compile.words import About, Input, Model
from lockgate.services.errors import NoTarget
from lockgate.services.serving.schema import Schema


def about(fetched: FetchedModel) -> About:
    """What is known without loading it. Raises `NoTarget` when no API can be derived from the signature."""
    try:
        schema = Schema.of(fetched.signature["inputs"], tuple(fetched.example))
    except ValueError as bad:
        raise NoTarget(f"{fetched.version} cannot be served: {bad}.") from bad
    inputs = tuple(Input(f.name, f.dtype, f.shape, f.column, f.required) for f in schema.fields)
    rows = len(next(iter(fetched.example.values())))
    example = {f.name: fetched.example[f.name] if f.name in fetched.example else f.missing(rows) for f in schema.fields}
    return About(str(fetched.version), fetched.digest, fetched.flavour, "", fetched.path, inputs, example)


def opened(fetched: FetchedModel, trust: Trust) -> Model:
    """The source model in memory, of the files that were fetched and no others.

    Raises `Untrusted`, and `Unusable`, also when it takes only some batch sizes or writes among its own files.
    """
    if digest_of(fetched.path) != fetched.digest:
        raise Unusable(f"The files of {fetched.version} in {fetched.path} changed since they were fetched; repeat.")
    keep_out(fetched.path)
    before = _files(fetched.path)
    source = load_source(fetched, trust)
    check_batches(source)
    _check_unwritten(fetched, before)
    known = about(fetched)
    whole = About(
        known.name,
        known.digest,
        known.flavour,
        source.storage,
        fetched.path / source.file,
        known.inputs,
        known.example,
    )
    return Model(whole, source.native, source.run)


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file: reading large ones again at every opening would take longer than loading them."""
    found = ((path, path.lstat()) for path in folder.rglob("*") if not path.is_dir())
    return {path.relative_to(folder).as_posix(): (stat.st_size, stat.st_mtime_ns) for path, stat in found}


def _check_unwritten(fetched: FetchedModel, before: dict[str, tuple[int, int]]) -> None:
    """Said here, where the name is known: the next process that opens it would find other files than were fetched."""
    after = _files(fetched.path)
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed and digest_of(fetched.path) != fetched.digest:
        raise Unusable(
            f"{fetched.version} changes {changed[0]} among its own files when it is loaded or answers, and they must "
            f"stay what was registered ({fetched.path}). Let its code write elsewhere (`tempfile`; a library's cache, "
            "by its variable, such as NUMBA_CACHE_DIR), and log it again."
        )
