"""What a plain word in a spec means. As in YAML 1.2, which editors use, and not 1.1, which PyYAML reads.

In 1.1 `no` is false, `1:30` is 90, `010` is 8, `1_000` is 1000 and `1e-3` is a text. Here the first, second and fourth
are texts, the last is a number, and the third is refused, because readers differ.
"""

from __future__ import annotations

import math
import re

import yaml

STR, INT, FLOAT, BOOL, NULL = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float", "bool", "null"))

_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BOOLS = {word: value for value in (True, False) for word in (str(value), str(value).lower(), str(value).upper())}
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_DIGITS = 18


def tag_of(word: str) -> str:
    """The tag of an unquoted word."""
    if word in _NULLS:
        return NULL
    if word in _BOOLS:
        return BOOL
    if _INT.fullmatch(word):
        return INT
    return FLOAT if _FLOAT.fullmatch(word) else STR


def value_of(node: yaml.ScalarNode) -> str | int | float | bool | None:
    """Raises `ValueError` with a sentence for what no field can hold."""
    tag, word = node.tag, node.value
    if tag == STR:
        return _text(word)
    if tag == NULL and word in _NULLS:
        return None
    if tag == BOOL and word in _BOOLS:
        return _BOOLS[word]
    if tag == INT and _INT.fullmatch(word):
        return _whole(word)
    if tag == FLOAT and _FLOAT.fullmatch(word):
        return _number(word)
    raise ValueError(f"the tag {short(tag)} does not fit here; leave it out")


def short(tag: str) -> str:
    return tag.replace("tag:yaml.org,2002:", "!!")


def _text(word: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in word):
        raise ValueError("the text holds half of a character; write the character itself")
    return word


def _whole(word: str) -> int:
    digits = word.lstrip("+-")
    if len(digits) > 1 and digits[0] == "0":
        plain = digits.lstrip("0") or "0"
        raise ValueError(f"{word} could be octal; write {plain} for the number or '{word}' for the text")
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits is too large")
    return int(word)


def _number(word: str) -> float:
    value = math.inf if "n" in word.lower() else float(word)
    if not math.isfinite(value):
        raise ValueError(f"{word} is not a number that can be compared; write a finite one")
    return value
