"""Model version → bento, in a process of its own: fetch, load, compile, prove parity, package.

The process keeps torch and its threads out of the controller, and a compiler that crashes takes only itself down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from lockgate.flows import builds, drift, elsewhere
from lockgate.flows.home import Home, home
from lockgate.flows.spec import Spec
from lockgate.flows.specfile.environment import referred
from lockgate.registry.errors import RegistryError
from lockgate.registry.words import ModelVersion
from lockgate.services.errors import PackagingFailed, ServiceError
from lockgate.services.words import Build

_VERSION = TypeAdapter(ModelVersion)
_SAY = "lockgate-step "
_SHOWN = 80
"""Characters of an answer that is none."""


def build(spec: Spec, version: ModelVersion, where: Home, say: Callable[[str], None]) -> Build:
    """The bento of a model version; made once, found again after. `say` gets a line for each stage.

    Where somebody else serves it, that is all there is to find. Raises the `RegistryError` or `ServiceError` that the
    process met.
    """
    if at := spec.service.external:
        return elsewhere.found(at, spec, version, where, say)
    found = builds.known(spec, version, where)
    if found and drift.is_kept(where, spec, found.bento.digest):
        return found
    request = json.dumps({"spec": spec.document, "version": asdict(version)})
    worker = subprocess.Popen(
        [sys.executable, "-m", "lockgate.flows.build"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, "LOCKGATE_HOME": str(where.root)},
    )
    with worker:
        try:
            made = _answer(worker, request, version, say)
        finally:
            if worker.poll() is None:
                worker.kill()
    builds.remember(spec, version, where, made)
    return made


def _answer(worker: subprocess.Popen[str], request: str, version: ModelVersion, say: Callable[[str], None]) -> Build:
    assert worker.stdin is not None  # noqa: S101 - we asked for the pipes
    assert worker.stdout is not None  # noqa: S101
    assert worker.stderr is not None  # noqa: S101
    with suppress(BrokenPipeError):  # it has ended already, and says why below
        worker.stdin.write(request)
    with suppress(BrokenPipeError):
        worker.stdin.close()
    noise: list[str] = []
    for line in worker.stderr:
        if line.startswith(_SAY):
            say(line.removeprefix(_SAY).strip())
        else:
            noise.append(line.rstrip())
    said = worker.stdout.read().strip().splitlines()
    code = worker.wait()
    if code or not said:
        tail = "\n".join(noise[-15:])
        raise PackagingFailed(f"building {version} ended with code {code}; its last words were:\n{tail}")
    return _made(said[-1], version)


def _made(line: str, version: ModelVersion) -> Build:
    """What the process answers. Raises what it met, and `PackagingFailed` for what is no answer."""
    try:
        answer = json.loads(line)
        if "error" not in answer:
            return builds.BUILD.validate_python(answer)
        error, sentence = _error(answer["error"]), answer["sentence"]
    except (ValueError, TypeError, KeyError) as odd:
        raise PackagingFailed(f"building {version} ended with what is no answer, {line[:_SHOWN]!r}: {odd}") from odd
    raise error(sentence)


def _error(name: str) -> type[Exception]:
    known: dict[str, type[Exception]] = {
        kind.__name__: kind for root in (RegistryError, ServiceError) for kind in (root, *root.__subclasses__())
    }
    return known.get(name, PackagingFailed)


def _work(document: dict[str, Any], version: ModelVersion, say: Callable[[str], None]) -> Build:
    from lockgate.flows import compiled
    from lockgate.registry.mlflow_registry import MlflowRegistry
    from lockgate.services.build import look, require
    from lockgate.services.compile.environment import withhold
    from lockgate.services.package import package

    spec, where = Spec.of(document), home()
    withhold(referred(document))
    say(f"fetching {version}")
    registry = MlflowRegistry(where.models)
    fetched = registry.fetch(version)
    found = look(fetched, spec.model.trust, builds.options(spec, flavour=fetched.flavour), where.artifacts, say)
    with ThreadPoolExecutor(1) as beside:  # it draws a picture, and packaging waits for another process
        recorded = beside.submit(compiled.record, found, version, registry, say)
        chosen = require(found, fetched)
        say(f"packaging {version}: {compiled.sentence(found)}")
        bento = package(fetched, found, name=spec.name, spec=spec.service, spec_hash=spec.service_digest)
        recorded.result()
    if why := drift.keep(where, bento.digest, fetched, spec, registry.training_file):
        say(f"live inputs will not be compared with a reference: {why}")
    return Build(bento, chosen.parity, found.rows)


def main() -> None:
    """Read a request from standard input, answer on standard output; words of progress go to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)  # compilers print; the answer must stay alone on its line
    request = json.loads(sys.stdin.read())

    def say(text: str) -> None:
        sys.stderr.write(f"{_SAY}{text}\n")
        sys.stderr.flush()

    try:
        answer = builds.BUILD.dump_python(
            _work(request["spec"], _VERSION.validate_python(request["version"]), say), mode="json"
        )
    except (RegistryError, ServiceError) as error:
        answer = {"error": type(error).__name__, "sentence": str(error)}
    os.write(out, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
