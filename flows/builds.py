"""Which bento was built from what, so that a repeated run need not load the model to find out."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from lockgate.flows.errors import WrongVariable
from lockgate.flows.home import Home
from lockgate.flows.spec import Spec
from lockgate.registry.words import ModelVersion
from lockgate.services import digest
from lockgate.services.compile.cache import built_on
from lockgate.services.compile.words import Options
from lockgate.services.package import home as bentoml_home
from lockgate.services.words import Build

BUILD: TypeAdapter[Build] = TypeAdapter(Build)


def options(spec: Spec, device: str | None = None, *, flavour: str = "", thorough: bool = False) -> Options:
    """As `ServiceSpec.options`. Raises `WrongVariable` where the machine's owner says what is no number of threads."""
    try:
        return spec.service.options(device, flavour=flavour, thorough=thorough)
    except ValueError as error:
        raise WrongVariable(str(error)) from None


def known(spec: Spec, version: ModelVersion, where: Home) -> Build | None:
    """The build of this version under this spec, if it was made with these libraries and its bento is still there."""
    try:
        build = BUILD.validate_json(_path(spec, version, where).read_bytes())
    except (OSError, ValidationError):
        return None
    name, _, number = build.bento.tag.partition(":")
    return build if (bentoml_home() / "bentos" / name / number).is_dir() else None


def remember(spec: Spec, version: ModelVersion, where: Home, build: Build) -> None:
    path = _path(spec, version, where)
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_suffix(f".{os.getpid()}")
    scratch.write_bytes(BUILD.dump_json(build))
    scratch.replace(path)


def _path(spec: Spec, version: ModelVersion, where: Home) -> Path:
    most = options(spec, "cpu")  # on a GPU there is no search for the number of threads
    made_from = [
        spec.name,
        spec.service_digest,
        spec.model.trust.model_dump(mode="json"),
        [version.name, version.version, version.source],
        digest.of_our_code(),
        built_on(options(spec)),
        [most.threads, most.most_threads],
        str(bentoml_home()),
    ]
    key = hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()
    return where.root / "builds" / f"{key[:32]}.json"
