"""Records of requests become Arrow record batches: one row for each row of a request."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from . import capture_arrow as arrow
from . import capture_forms as forms
from .capture_forms import Form
from .capture_page import MOST_ROWS, Part
from .capture_queue import Record
from .capture_settings import Settings
from .fields import Field

_KINDS = ["live", "shadow", "echo", "forced"]
_USERS = 8192
"""Whose hashes are remembered."""


@dataclass(frozen=True, slots=True)
class Source:
    """Who answered."""

    version: str
    digest: str
    replica: str


class Columns:
    """Knows the schema so far: inputs from the signature, outputs as they were seen."""

    def __init__(self, fields: Sequence[Field], source: Source) -> None:
        self._names, self._source = [f.name for f in fields], source
        self._inputs = {f"input.{f.name}": forms.of_field(f) for f in fields}
        self._outputs: dict[str, Form] = {}
        self._hash: frozenset[str] = frozenset()
        self._drop: frozenset[str] = frozenset()
        self._key = b""
        self._unit: Callable[[bytes], bytes] = partial(forms.digest, key=b"")
        self._schema: Any = None

    def follow(self, settings: Settings) -> list[str]:
        """Redact as the settings say; returns the names there that are no inputs of this model."""
        redact = settings.redact
        self._hash = frozenset(f"input.{name}" for name, how in redact.items() if how == "hash")
        self._drop = frozenset(f"input.{name}" for name, how in redact.items() if how == "drop")
        self._key, self._schema = settings.key, None
        self._unit = lru_cache(_USERS)(partial(forms.digest, key=settings.key))
        return [name for name in redact if name not in self._names]

    def batches(self, parts: Sequence[Part]) -> list[Any]:
        """All with one schema. What raises leaves the schema as it was."""
        import pyarrow as pa  # type: ignore[import-untyped, unused-ignore]

        outputs = dict(self._outputs)
        for part in parts:
            for name, arrays in part.values.items():
                if name not in self._inputs:
                    form = forms.of_parts(arrays)
                    outputs[name] = forms.merged(outputs[name], form) if name in outputs else form
        fresh = self._schema is None or outputs != self._outputs
        schema = self._described(outputs) if fresh else self._schema
        made = [pa.record_batch(self._arrays(part, outputs, schema), schema=schema) for part in parts]
        self._outputs, self._schema = outputs, schema
        return made

    def _described(self, outputs: Mapping[str, Form]) -> Any:
        import pyarrow as pa

        word = pa.dictionary(pa.int32(), pa.string())
        fields = [pa.field("request_id", pa.string()), pa.field("row", pa.int32()), pa.field("rows", pa.int32())]
        fields += [pa.field("at", pa.timestamp("us", "UTC")), pa.field("variant", word), pa.field("kind", word)]
        fields += [pa.field("unit", pa.string()), pa.field("status", pa.int16()), pa.field("seconds", pa.float32())]
        fields += [pa.field(name, word) for name in ("model_version", "digest", "replica")]
        for name, form in {**self._inputs, **outputs}.items():
            if name in self._hash:
                fields.append(pa.field(name, pa.string()))
            elif name not in self._drop:
                fields.append(pa.field(name, form.type(), metadata=form.metadata()))
        return pa.schema(fields)

    def _arrays(self, part: Part, outputs: Mapping[str, Form], schema: Any) -> list[Any]:
        import pyarrow as pa

        found, rows = self._about(part), int(part.counts.sum())
        for field in schema:
            parts = part.values.get(field.name)
            if field.name in found:
                continue
            if parts is None:
                found[field.name] = pa.nulls(rows, field.type)
            elif field.name in self._hash:
                found[field.name] = forms.hashed(parts, self._key)
            else:
                found[field.name] = forms.column(parts, self._inputs.get(field.name) or outputs[field.name])
        return [found[field.name] for field in schema]

    def _about(self, part: Part) -> dict[str, Any]:
        """The columns that every request has, each value repeated for the rows of its request."""
        counts, about, source = part.counts, part.about, self._source
        total, of = int(counts.sum()), np.repeat(np.arange(len(counts)), counts)
        if total != len(counts):
            about = [[values[i] for i in of.tolist()] for values in about]
        ids, variants, kinds, units, status, at, seconds, rows = about
        place = {word: i for i, word in enumerate(dict.fromkeys(variants))}
        constants = {"model_version": source.version, "digest": source.digest, "replica": source.replica}
        return {
            "request_id": arrow.text([i.decode("latin-1") for i in ids]),
            "row": arrow.numbers((np.arange(total) - (np.cumsum(counts) - counts)[of]).astype("int32")),
            "rows": arrow.numbers(np.array(rows, "int32")),
            "at": arrow.micros(np.array(at)),
            "variant": arrow.words(
                np.array([place[v] for v in variants], "int32"), [word.decode("latin-1") for word in place]
            ),
            "kind": arrow.words(np.array(kinds, "int32"), _KINDS),
            "unit": arrow.text([self._unit(unit).decode() if unit else None for unit in units]),
            "status": arrow.numbers(np.array(status, "int16")),
            "seconds": arrow.numbers(np.array(seconds, "float32")),
            **{name: arrow.words(np.zeros(total, "int32"), [value]) for name, value in constants.items()},
        }


def parts(records: Sequence[Record]) -> list[Part]:
    """Records that have the same columns together."""
    found: dict[object, list[Record]] = {}
    for record in records:
        inputs, outputs = record[8], record[9]
        key = None if outputs is None else (tuple(inputs or ()), tuple(outputs))
        found.setdefault(key, []).append(record)
    return [_part(group) for group in found.values()]


def _part(group: Sequence[Record]) -> Part:
    *about, inputs, outputs, _ = zip(*group, strict=True)
    counts = np.clip(about[7], 1, MOST_ROWS)
    if outputs[0] is None:
        return Part(about, counts, {})
    values = {f"input.{name}": forms.together([i[name] for i in inputs]) for name in inputs[0]}
    return Part(about, counts, values | {f"output.{n}": forms.together([o[n] for o in outputs]) for n in outputs[0]})
