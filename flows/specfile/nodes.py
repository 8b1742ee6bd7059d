"""From text to YAML's tree of nodes, which knows the line of everything."""

from __future__ import annotations

from typing import Any

import yaml
from yaml.composer import ComposerError

from lockgate.flows.errors import Problem, SpecError
from lockgate.flows.specfile.scalars import STR, tag_of

DEEPEST = 32
MOST = 10_000
"""Values in one spec, aliases counted as often as they are used: a page of aliases can stand for billions."""


class _Loader(yaml.SafeLoader):
    """Composes nodes only: nothing is constructed, so no tag can run code."""

    depth = 0
    made = 0

    def resolve(self, kind: type[yaml.Node], value: str | None, implicit: Any) -> str:
        """`implicit` is a pair for scalars: whether the tag may be left to us when plain, and when quoted."""
        if kind is yaml.ScalarNode:
            return tag_of(value or "") if implicit[0] else STR
        return self.DEFAULT_MAPPING_TAG if kind is yaml.MappingNode else self.DEFAULT_SEQUENCE_TAG

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.made += 1
        if self.depth > DEEPEST or self.made > 2 * MOST:
            what = f"nested deeper than {DEEPEST} levels" if self.depth > DEEPEST else f"more than {MOST} values"
            raise ComposerError(None, None, what, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def compose(text: str, file: str) -> yaml.MappingNode:
    """The mapping that a spec is. Raises `SpecError` with the one problem that stops the reading."""
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError(file, [_marked(error, text)]) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"the character U+{ord(text[error.position]):04X} is not allowed in YAML; remove it"
        raise SpecError(file, [Problem(line, "", message)]) from None
    if node is None:
        raise SpecError(file, [Problem(0, "", "the file is empty; `lockgate init MODEL` writes a spec to start from")])
    if not isinstance(node, yaml.MappingNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        message = f"a spec is a mapping of fields, like `name: fraud`, not {what}"
        raise SpecError(file, [Problem(node.start_mark.line + 1, "", message)])
    return node


_SENTENCES = (
    ("found character '\\t'", "a tab; YAML is indented with spaces"),
    ("found character", "text cannot start with {quoted} here; put it in quotes"),
    (
        "mapping values are not allowed",
        "a ':' that does not fit; mind the indentation and the line before, or put text with ': ' in quotes",
    ),
    ("could not find expected ':'", "a field without a ':' and a space after its name"),
    ("found undefined alias", "*{bare} stands for nothing; an anchor &{bare} has to come before it"),
    ("found duplicate anchor", "the anchor &{bare} is defined twice"),
    ("expected a single document", "a second document; a spec is one, so remove the '---'"),
    ("but found another document", "a second document; a spec is one, so remove the '---'"),
    ("expected <block end>", "this line does not fit the indentation of those above it"),
    ("nested deeper", "{problem}; a spec needs fewer"),
    ("more than", "{problem}; a spec needs fewer"),
)
_UNCLOSED = (
    ("expected ',' or ']'", "a '[' that is not closed by ']', or a ',' is missing"),
    ("expected ',' or '}'", "a '{' that is not closed by '}', or a ',' is missing"),
    ("found unexpected end of stream", "a quote that is not closed"),
)

_BARE_REFERENCE = 'in braces and brackets a reference needs quotes, like "${NAME}"'


def _marked(error: yaml.MarkedYAMLError, text: str) -> Problem:
    """The scanner's words are about tokens; people look for the place where something was opened."""
    problem = error.problem or error.context or "not YAML"
    line = _line(error.problem_mark or error.context_mark)
    for start, sentence in _UNCLOSED:
        if problem.startswith(start):
            opened = _line(error.context_mark or error.problem_mark)
            bare = "${" in "".join(text.splitlines()[opened - 1 : line])
            return Problem(opened, "", _BARE_REFERENCE if bare else sentence)
    for start, sentence in _SENTENCES:
        if start in problem:
            quoted = problem.partition("'")[2].rpartition("'")[0]
            return Problem(line, "", sentence.format(quoted=f"'{quoted}'", bare=quoted, problem=problem))
    return Problem(line, "", f"not YAML: {problem}")


def _line(mark: yaml.Mark | None) -> int:
    return mark.line + 1 if mark else 1
