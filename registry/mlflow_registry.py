"""The registry is MLflow: a server, or a database file on this machine."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock

from .approvals import OPEN, Page, Request
from .cache import ModelCache, digest_of
from .checked import checked
from .client import asking, connect, first_line, quiet_mlflow, says_missing, write
from .errors import Conflict, NoSuchVersion, Unusable
from .location import locate, without_password
from .missing import no_such_alias, no_such_model, no_such_version
from .page import Pen, read
from .people import People
from .record import record
from .training import training_file
from .words import FetchedModel, ModelVersion, Run

_LONGEST_TAG = 5000  # MLflow's own limit before 3.0, and a length that a person still reads
_META = "registered_model_meta"  # MLflow writes name and version into the download; they are not the model


class MlflowRegistry:
    """MLflow's models, versions and aliases.

    MLflow has no compare-and-set: two callers of `assign` with the same `expected` may both believe that they moved
    `@champion`. What makes a promotion exclusive is the one open rollout per model in our own store.
    """

    def __init__(self, cache: Path, tracking_uri: str | None = None) -> None:
        """`cache` keeps the downloads. `locate` says where MLflow is when no URI is given."""
        self._where = locate(tracking_uri)
        self._cache, self._scratch = ModelCache(cache), cache / "digests"
        self._people = People(self._where)
        self._connected: Any = None

    def resolve(self, name: str, reference: str) -> ModelVersion:
        return _value(self._found(name, reference))

    def fetch(self, version: ModelVersion) -> FetchedModel:
        origin = f"{self._where}\n{version.source}"
        return checked(version, self._cache.get(str(version), origin, lambda into: self._download(version, into)))

    def assign(self, name: str, version: str, *, expected: str | None) -> None:
        """`@previous` is written first, so that a crash before the second write loses nothing.

        `@champion` then still names the version before, and the next call starts over.
        """
        wanted = self.resolve(name, version).version
        before = self.champion(name)
        if before == wanted:
            return
        if expected is not None and before != expected:
            raise Conflict(_moved(name, before, f"where version {expected} was expected"))
        if before is not None:
            self._point(name, "previous", before)
        self._point(name, "champion", wanted)
        if (after := self.champion(name)) != wanted:
            raise Conflict(_moved(name, after, f"right after it was pointed at version {wanted}"))

    def annotate(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        there = self.resolve(name, version).tags
        client = self._client()
        for key, value in tags.items():
            full, cut = f"lockgate.{key}", str(value)[:_LONGEST_TAG]
            if there.get(full) != cut:
                with asking(self._where):
                    write(partial(client.set_model_version_tag, name, version, full, cut))

    def record(self, version: ModelVersion, folder: str, files: Mapping[str, bytes]) -> Run:
        return record(self._client(), self._where, self.resolve(version.name, version.version), folder, files)

    def ask(self, version: ModelVersion, request: Request, evidence: str) -> str:
        """What the author wrote is below ours, or moves to the version's run where both do not fit."""
        return self._pen(version).ask(request, evidence)

    def page(self, version: ModelVersion) -> Page:
        found = self._found(version.name, version.version)
        return read(_value(found), found.description or "", self.knows_people)

    def close(self, version: ModelVersion, request: Request, outcome: str) -> None:
        self._pen(version).close(request, outcome)

    def decide(self, version: ModelVersion, request: Request, *, approve: bool, comment: str) -> None:
        word = "approved" if approve else "rejected"
        self._pen(version).decide(request, f"{word}: {comment.strip()}" if comment.strip() else word)

    def digest(self, version: ModelVersion) -> str:
        found = self.resolve(version.name, version.version)
        key = hashlib.sha256(f"{found}\n{found.source}".encode()).hexdigest()[:40]
        folder = self._scratch / key
        self._scratch.mkdir(parents=True, exist_ok=True)
        with FileLock(self._scratch / f"{key}.lock"):
            shutil.rmtree(folder, ignore_errors=True)  # left by a killed process: the lock is ours now
            folder.mkdir()
            try:
                return digest_of(self._download(found, folder))
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def training_file(self, version: ModelVersion, artifact: str, into: Path, *, data_set: bool = False) -> Path | None:
        with asking(self._where):
            return training_file(self._client(), version, (artifact, into), data_set=data_set)

    def knows_people(self) -> bool:
        """Only a server with `lockgate-auth` does: a database does not know who writes into it."""
        return self._people.known()

    def announce(self, name: str, rollout: str) -> None:
        if self.announced(name) == rollout:
            return
        client = self._client()
        with asking(self._where):
            if rollout:
                write(lambda: client.set_registered_model_tag(name, OPEN, rollout))
            else:
                client.delete_registered_model_tag(name, OPEN)

    def announced(self, name: str) -> str:
        return str(self._registered(name).tags.get(OPEN, ""))

    def champion(self, name: str) -> str | None:
        """The version that `@champion` names now, if any. Raises `NoSuchVersion` without the model."""
        version = self._registered(name).aliases.get("champion")
        return None if version is None else str(version)

    def versions(self, name: str) -> dict[str, tuple[str, ...]]:
        """Every version of a model, newest first, with its aliases."""
        aliases = self._registered(name).aliases
        quote = '"' if "'" in name else "'"
        with asking(self._where):
            found = self._client().search_model_versions(f"name={quote}{name}{quote}", max_results=1000)
        numbers = sorted({int(v.version) for v in found}, reverse=True)
        return {str(n): tuple(sorted(a for a, v in aliases.items() if int(v) == n)) for n in numbers}

    def _found(self, name: str, reference: str) -> Any:
        """MLflow's own value. Raises `NoSuchVersion` with what there is."""
        client, mlflow = self._client(), quiet_mlflow()
        with asking(self._where):
            try:
                if reference.startswith("@"):
                    return client.get_model_version_by_alias(name, reference[1:])
                return client.get_model_version(name, reference)
            except mlflow.MlflowException as error:
                if not says_missing(error):
                    raise
        raise NoSuchVersion(self._missing(name, reference))

    def _pen(self, version: ModelVersion) -> Pen:
        found = self._found(version.name, version.version)
        return Pen(self._client(), self._where, _value(found), found.description or "")

    def _missing(self, name: str, reference: str) -> str:
        versions = self.versions(name)
        if reference.startswith("@"):
            return no_such_alias(name, reference, versions)
        return no_such_version(name, reference, versions)

    def _registered(self, name: str) -> Any:
        client, mlflow = self._client(), quiet_mlflow()
        with asking(self._where):
            try:
                return client.get_registered_model(name)
            except mlflow.MlflowException as error:
                if not says_missing(error):
                    raise
            names = [m.name for m in client.search_registered_models(max_results=1000)]
        raise NoSuchVersion(no_such_model(name, names, str(self._where)))

    def _point(self, name: str, alias: str, version: str) -> None:
        client = self._client()
        with asking(self._where):
            write(lambda: client.set_registered_model_alias(name, alias, version))

    def _download(self, version: ModelVersion, into: Path) -> Path:
        client, mlflow = self._client(), quiet_mlflow()
        with asking(self._where):
            uri = client.get_model_version_download_uri(version.name, version.version)
            try:
                got = mlflow.artifacts.download_artifacts(
                    artifact_uri=uri,
                    dst_path=str(into),
                    tracking_uri=self._where.tracking,
                    registry_uri=self._where.registry,
                )
            except FileNotFoundError as error:
                raise Unusable(_gone(version, uri, error)) from error
            except mlflow.MlflowException as error:
                if "No such artifact" in str(error) or says_missing(error):
                    raise Unusable(_gone(version, uri, error)) from error
                raise
        (Path(got) / _META).unlink(missing_ok=True)
        return Path(got)

    def _client(self) -> Any:
        if self._connected is None:
            self._connected = connect(self._where)
        return self._connected


def _value(found: Any) -> ModelVersion:
    return ModelVersion(
        name=found.name,
        version=str(found.version),
        source=found.source or "",
        run_id=found.run_id or "",
        aliases=tuple(sorted(found.aliases)),
        tags=dict(found.tags),
    )


def _gone(version: ModelVersion, uri: str, error: Exception) -> str:
    return (
        f"The files of {version} are not at {without_password(uri)} ({first_line(error)}). "
        "Log the model again as a new version."
    )


def _moved(name: str, now: str | None, when: str) -> str:
    names = "no version" if now is None else f"version {now}"
    return (
        f"@champion of {name!r} names {names} {when}: somebody else moved it. Look at the model's page in MLflow, "
        "decide which version should serve, and start a new rollout from there."
    )
