"""A registry in memory, for the tests of those who only need some registry. It passes MLflow's contract tests."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lockgate.registry.approvals import PENDING, WRITING, Decision, Page, Request, said
from lockgate.registry.errors import Conflict, NoSuchVersion, Refused, RegistryDown, Unusable
from lockgate.registry.words import EVIDENCE_ROOM, FetchedModel, ModelVersion, Run

_TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}


@dataclass
class Asking:
    """What stands on one version's page. `author`: who registered it."""

    approval: str = ""
    request: Request | None = None
    evidence: str = ""
    decisions: tuple[Decision, ...] = ()
    author: str = ""


@dataclass
class FakeRegistry:
    """`put` fills it; `down` makes every verb raise `RegistryDown`; `unusable` holds versions that `fetch` refuses.

    `people` makes it one whose server knows people, `me` who decides then, and `refuses` what it says to them.
    `person_says` and `person_edits` play a person on a version's page, `changed` holds versions whose files are others
    than those that `fetch` had.
    """

    models: dict[str, dict[str, ModelVersion]] = field(default_factory=dict)
    aliases: dict[tuple[str, str], str] = field(default_factory=dict)
    unusable: set[tuple[str, str]] = field(default_factory=set)
    down: bool = False
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)
    pages: dict[tuple[str, str], Asking] = field(default_factory=dict)
    open: dict[str, str] = field(default_factory=dict)
    changed: set[tuple[str, str]] = field(default_factory=set)
    people: bool = False
    me: str = ""
    refuses: str = ""

    def put(self, name: str, versions: int) -> None:
        self.models[name] = {str(n): ModelVersion(name, str(n), f"fake:/{name}/{n}") for n in range(1, versions + 1)}

    def resolve(self, name: str, reference: str) -> ModelVersion:
        self._answer()
        number = self.aliases.get((name, reference[1:])) if reference.startswith("@") else reference
        found = self.models.get(name, {}).get(number or "")
        if found is None:
            raise NoSuchVersion(f"There is no {name} {reference} in the fake registry.")
        names = sorted(alias for (model, alias), at in self.aliases.items() if (model, at) == (name, number))
        return replace(found, aliases=tuple(names))

    def fetch(self, version: ModelVersion) -> FetchedModel:
        self._answer()
        if (version.name, version.version) in self.unusable:
            raise Unusable(f"{version} cannot be rolled out: it has no signature.")
        return FetchedModel(
            version=version,
            path=Path("/nonexistent"),
            digest=hashlib.sha256(version.source.encode()).hexdigest(),
            flavour="sklearn",
            signature={"inputs": [_TENSOR], "outputs": None},
            example={"input": np.zeros((2, 3), "float32")},
        )

    def assign(self, name: str, version: str, *, expected: str | None) -> None:
        self.resolve(name, version)
        before = self.aliases.get((name, "champion"))
        if before == version:
            return
        if expected is not None and before != expected:
            raise Conflict(f"@champion of {name!r} names {before} where version {expected} was expected.")
        if before is not None:
            self.aliases[name, "previous"] = before
        self.aliases[name, "champion"] = version

    def annotate(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        found = self.resolve(name, version)
        written = {f"lockgate.{key}": str(value)[:5000] for key, value in tags.items()}
        self.models[name][version] = replace(found, tags={**found.tags, **written})

    def record(self, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> Run:
        self.resolve(version.name, version.version)
        for name, content in files.items():
            self.files[version.name, version.version, f"lockgate/{folder}/{name}"] = content
        return Run("1", f"run-of-{version.name}-{version.version}", f"lockgate/{folder}")

    def ask(self, version: ModelVersion, request: Request, evidence: str) -> str:
        evidence = evidence.strip("\n")
        if len(evidence) > EVIDENCE_ROOM:
            raise ValueError(f"The evidence has {len(evidence)} characters.")
        page = self._page(version)
        if page.request != request or page.approval in ("", WRITING):
            page.approval, page.request, page.evidence, page.decisions = PENDING, request, evidence, ()
        elif page.approval != PENDING and not said(page.approval):
            page.approval = PENDING
        return _sha(evidence)

    def page(self, version: ModelVersion) -> Page:
        page = self._page(version)
        decisions, word = page.decisions, said(page.approval)
        if not self.people:
            request = page.request
            decisions = (Decision(word[0], "", 0.0, word[1], request.digest),) if word and request else ()
        if not page.evidence:
            return Page(page.approval, page.request, (), "", page.author)
        return Page(page.approval, page.request, decisions, _sha(page.evidence), page.author)

    def close(self, version: ModelVersion, request: Request, outcome: str) -> None:
        page = self._page(version)
        if page.request == request:
            page.approval = outcome

    def decide(self, version: ModelVersion, request: Request, *, approve: bool, comment: str) -> None:
        page = self._page(version)
        if page.approval == WRITING and page.request == request:
            raise Refused(f"What is asked of {version} is being written. Wait a moment, then say it again.")
        if self.refuses or page.request != request or page.approval != PENDING:
            raise Refused(self.refuses or f"Nothing is asked of {version} now.")
        word = "approved" if approve else "rejected"
        value = f"{word}: {comment.strip()}" if comment.strip() else word
        self.person_says(version, value, by=self.me, verified=self.people)

    def digest(self, version: ModelVersion) -> str:
        found = self.resolve(version.name, version.version)
        more = "changed" if (found.name, found.version) in self.changed else ""
        return _sha(found.source + more)

    def training_file(
        self,
        version: ModelVersion,
        artifact: str,
        into: Path,
        *,
        data_set: bool = False,  # noqa: ARG002 - it has none
    ) -> Path | None:
        found = self.resolve(version.name, version.version)
        content = self.files.get((found.name, found.version, artifact))
        if content is None:
            return None
        (into / Path(artifact).name).write_bytes(content)
        return into / Path(artifact).name

    def knows_people(self) -> bool:
        self._answer()
        return self.people

    def announce(self, name: str, rollout: str) -> None:
        self._known(name)
        self.open[name] = rollout

    def announced(self, name: str) -> str:
        self._known(name)
        return self.open.get(name, "")

    def person_says(self, version: ModelVersion, value: str, by: str = "", *, verified: bool = False) -> None:
        """Edit the tag `lockgate.approval`; with `by`, as somebody whom a server with `people` knows.

        As there, the tag goes on saying `pending` until as many people approved as the request asks for.
        """
        page, word = self._page(version), said(value)
        if word and by and page.request:
            at = page.request.asked_at + 1
            page.decisions += (Decision(word[0], by, at, word[1], page.request.digest, verified),)
            approved = {d.by for d in page.decisions if d.approved}
            if word[0] and len(approved) < page.request.required:
                value = PENDING
        page.approval = value

    def person_edits(self, version: ModelVersion, evidence: str) -> None:
        """Change the evidence in the description."""
        self._page(version).evidence = evidence

    def _page(self, version: ModelVersion) -> Asking:
        self.resolve(version.name, version.version)
        return self.pages.setdefault((version.name, version.version), Asking())

    def _known(self, name: str) -> None:
        self._answer()
        if name not in self.models:
            raise NoSuchVersion(f"There is no {name} in the fake registry.")

    def _answer(self) -> None:
        if self.down:
            raise RegistryDown("The fake registry is down.")


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
