"""The process that builds one bento: a job as JSON on standard input. `package` starts it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INSIDE = "lockgate_services"
"""What this package is called inside a bento, where `compile` and `serving` are all that is left of it."""


def build(job: Mapping[str, Any]) -> None:
    import bentoml

    from lockgate.services.serving import sealed

    tag, seal = _store(job)
    sealed.close(Path(job["source"]))
    bentoml.bentos.build(
        service=f"{INSIDE}.serving.service:Model",
        name=job["name"],
        version=job["version"],
        labels=job["labels"],
        build_ctx=job["source"],
        include=[f"{INSIDE}/**"],
        models=[tag],
        python={"packages": job["packages"], "lock_packages": False},
        args=job["args"] | {"seal": seal},
    )


def _store(job: Mapping[str, Any]) -> tuple[str, str]:
    """The artifact as an entry of BentoML's model store: its full tag, and the seal on its files."""
    import bentoml
    from bentoml.models import ModelContext

    from lockgate.services.compile.cache import of_folder
    from lockgate.services.serving import sealed

    tag: str = job["args"]["store"]
    manifest = json.loads((Path(job["artifact"]) / "manifest.json").read_text(encoding="utf-8"))
    context = ModelContext(framework_name=manifest["engine"], framework_versions=manifest["packages"])
    with bentoml.models.create(tag, module="lockgate", labels=job["labels"], context=context) as entry:
        place = Path(entry.path)
        for folder, into, digest in ((job["artifact"], "", job["labels"]["digest"]), *job["fallback"]):
            proven = Path(shutil.copytree(folder, place / into, symlinks=True, dirs_exist_ok=True))
            sealed.close(proven)
            if of_folder(proven) != digest:
                raise SystemExit(f"{folder} changed after it was proven; delete it, and it is compiled again")
        (place / "reference").mkdir()
        for name in ("cases.npz", "few.npz"):
            shutil.copyfile(Path(job["reference"]) / name, place / "reference" / name)
        (place / "table.json").write_text(json.dumps(job["table"], indent=1), encoding="utf-8")
        (place / "service.json").write_text(json.dumps(job["about"], indent=1), encoding="utf-8")
        seal = sealed.write(place)
    return tag, seal


def nobody_elses() -> None:
    """What this process writes, only its own user and group may change, whatever the umask was."""
    os.umask(os.umask(0o002) | 0o002)


if __name__ == "__main__":
    nobody_elses()
    build(json.load(sys.stdin))
