"""A fetched model version as the compilers know it."""

from __future__ import annotations

from lockgate.registry.source import check_batches, load_source
from lockgate.registry.spec import Trust
from lockgate.registry.words import FetchedModel
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
    """The source model in memory. Raises `Untrusted`, `Unusable`, also when it takes only some batch sizes."""
    source = load_source(fetched, trust)
    check_batches(source)
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
