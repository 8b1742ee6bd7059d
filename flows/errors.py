"""What can go wrong before a rollout is touched.

FlowError             exit code 1
├── SpecError         the spec is wrong; carries every problem, in the order of their lines (2)
├── Unwritten         a file was not written, so as not to lose what is there (2)
├── ServedElsewhere   what is asked for needs a model that is served here (2)
├── WrongVariable     an environment variable says what cannot be (2)
├── MissingPart       this machine lacks a part that the command needs (3)
├── Overtaken         a rollout ended while the command was under way (13)
└── NothingToDo       stable and candidate are the same version (0)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a spec. `line` counts from 1; 0 is the file as a whole. `path` is like `rollout.steps[2]`."""

    line: int
    path: str
    message: str

    def at(self, file: str) -> str:
        """One line of text, like `lockgate.yaml:14: rollout.steps[2].canary.wieght: unknown field`."""
        place = f"{file}:{self.line}" if self.line else file
        return f"{place}: {self.path}: {self.message}" if self.path else f"{place}: {self.message}"


class FlowError(Exception):
    """A sentence: what is wrong, where, what to do."""

    code: ClassVar[int] = 1


class SpecError(FlowError):
    code = 2

    def __init__(self, file: str, problems: Iterable[Problem]) -> None:
        self.file = file
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(problem.at(file) for problem in self.problems))


class Unwritten(FlowError):
    code = 2


class ServedElsewhere(FlowError):
    code = 2


class WrongVariable(FlowError):
    code = 2


class MissingPart(FlowError):
    code = 3


class Overtaken(FlowError):
    code = 13


class NothingToDo(FlowError):
    code = 0
