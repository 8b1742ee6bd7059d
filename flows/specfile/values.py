"""From YAML's nodes to plain values, with the line of each and the problems met on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

import yaml

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.specfile.environment import fill
from lockgate.flows.specfile.nodes import MOST
from lockgate.flows.specfile.scalars import BOOL, FLOAT, INT, STR, short, tag_of, value_of

Path = tuple[str | int, ...]
_MERGE = "<<"
_PLAIN_TAGS = frozenset({yaml.SafeLoader.DEFAULT_MAPPING_TAG, yaml.SafeLoader.DEFAULT_SEQUENCE_TAG})


@dataclass
class Document:
    """What a file says.

    `spoiled` are the paths whose values could not be read; they hold None. `filled` are those of texts that came from
    the environment in whole or in part, and `hidden` says how to show what came from there (see `environment.fill`).
    """

    value: dict[str, Any] = field(default_factory=dict)
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    spoiled: set[Path] = field(default_factory=set)
    hidden: dict[str, str] = field(default_factory=dict)
    filled: set[Path] = field(default_factory=set)

    def line(self, path: Path) -> int:
        """The line of `path`, or of the nearest thing around it that is written in the file."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def at(self, path: Path) -> Any:
        """The value at `path`, or None."""
        here: Any = self.value
        for part in path:
            try:
                here = here[part]
            except (KeyError, IndexError, TypeError):
                return None
        return here

    def reread(self, paths: Iterable[Path]) -> bool:
        """Take texts from the environment for the numbers and booleans that they spell. True if there were any."""
        changed = False
        for path in self.filled.intersection(paths):
            text = self.at(path)
            if isinstance(text, str) and (tag := tag_of(text)) in {INT, FLOAT, BOOL}:
                with suppress(ValueError):
                    self.at(path[:-1])[path[-1]] = value_of(yaml.ScalarNode(tag, text))
                    changed = True
        return changed


def shown(path: Path) -> str:
    """`rollout.steps[2].canary`; a name that is no plain word stands in quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        plain = part.replace("_", "a").replace("-", "a").isalnum() and len(part) <= 60
        text += "." * bool(text) + (part if plain else repr(part[:60]))
    return text


class Reader:
    """Reads one tree. Goes on after a problem; raises `SpecError` only for what could keep it going forever."""

    def __init__(self, file: str, environment: Mapping[str, str]) -> None:
        self.document = Document()
        self._file = file
        self._environment = environment
        self._read = 0
        self._open: list[yaml.Node] = []

    def root(self, node: yaml.MappingNode) -> Document:
        self.document.value = self._value(node, (), node.start_mark.line + 1)
        return self.document

    def _value(self, node: yaml.Node, path: Path, line: int) -> Any:
        self.document.lines[path] = line
        self._count(path, line)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if node.tag not in _PLAIN_TAGS:
            return self._spoil(path, f"the tag {short(node.tag)} does not fit here; leave it out")
        with self._inside(node, path, line):
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            return [self._value(item, (*path, i), _line(item, line)) for i, item in enumerate(node.value)]

    @contextmanager
    def _inside(self, node: yaml.Node, path: Path, line: int) -> Iterator[None]:
        if any(node is other for other in self._open):
            self._stop(line, path, "the alias stands for something that contains it")
        self._open.append(node)
        try:
            yield
        finally:
            self._open.pop()

    def _count(self, path: Path, line: int) -> None:
        self._read += 1
        if self._read > MOST:
            self._stop(line, path, f"with its aliases written out the spec has more than {MOST} values")

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        value: dict[str, Any] = {}
        written: dict[str, int] = {}
        for key, child in node.value:
            line = key.start_mark.line + 1
            if not _is_name(key):
                self._complain(line, path, "the name of a field is a word")
            elif key.value == _MERGE and key.style is None:
                continue
            elif key.value in written:
                message = f"written twice; the first is on line {written[key.value]}"
                self._complain(line, (*path, key.value), message)
            else:
                written[key.value] = line
                value[key.value] = self._value(child, (*path, key.value), line)
        for key, child in self._merged(node, path):
            self._count(path, key.start_mark.line + 1)
            if key.value not in value:
                value[key.value] = self._value(child, (*path, key.value), key.start_mark.line + 1)
        return value

    def _merged(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[yaml.ScalarNode, yaml.Node]]:
        """What `<<: *anchor` brings in, the nearest first; what the mapping writes itself goes before."""
        for key, child in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value != _MERGE or key.style is not None:
                continue
            line = key.start_mark.line + 1
            for source in child.value if isinstance(child, yaml.SequenceNode) else [child]:
                if not isinstance(source, yaml.MappingNode):
                    self._complain(line, path, "'<<' brings in mappings, like `<<: *name`")
                    continue
                self._count(path, line)
                with self._inside(source, path, line):
                    yield from (pair for pair in source.value if _is_name(pair[0]) and pair[0].value != _MERGE)
                    yield from self._merged(source, path)

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Any:
        try:
            if node.tag == STR and "${" in node.value:
                return self._from_environment(node, path)
            return value_of(node)
        except ValueError as error:
            return self._spoil(path, str(error))

    def _from_environment(self, node: yaml.ScalarNode, path: Path) -> str:
        filled, hidden = fill(node.value, self._environment)
        self.document.hidden |= hidden
        if hidden:
            self.document.filled.add(path)
        return filled

    def _spoil(self, path: Path, message: str) -> None:
        self.document.spoiled.add(path)
        self._complain(self.document.lines[path], path, message)

    def _stop(self, line: int, path: Path, message: str) -> NoReturn:
        raise SpecError(self._file, [*self.document.problems, Problem(line, shown(path), message)])

    def _complain(self, line: int, path: Path, message: str) -> None:
        self.document.problems.append(Problem(line, shown(path), message))


def _is_name(key: yaml.Node) -> bool:
    return isinstance(key, yaml.ScalarNode) and key.value.isprintable()


def _line(node: yaml.Node, around: int) -> int:
    """Where a list's item stands; one that comes from an alias stands where its list does."""
    return max(node.start_mark.line + 1, around)
