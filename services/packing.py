"""The process that builds one bento: a job as JSON on standard input. `package` starts it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

INSIDE = "lockgate_services"
"""What this package is called inside a bento, where `compile` and `serving` are all that is left of it."""


def build(job: Mapping[str, Any]) -> None:
    import bentoml

    tag = _store(job)
    bentoml.bentos.build(
        service=f"{INSIDE}.serving.service:Model",
        name=job["name"],
        version=job["version"],
        labels=job["labels"],
        build_ctx=job["source"],
        include=[f"{INSIDE}/**"],
        models=[tag],
        python={"packages": job["packages"], "lock_packages": False},
        args=job["args"],
    )


def _store(job: Mapping[str, Any]) -> str:
    """The artifact as an entry of BentoML's model store, under a full tag."""
    import bentoml
    from bentoml.models import ModelContext

    tag: str = job["args"]["store"]
    manifest = json.loads((Path(job["artifact"]) / "manifest.json").read_text(encoding="utf-8"))
    context = ModelContext(framework_name=manifest["engine"], framework_versions=manifest["packages"])
    with bentoml.models.create(tag, module="lockgate", labels=job["labels"], context=context) as entry:
        place = Path(entry.path)
        shutil.copytree(job["artifact"], place, dirs_exist_ok=True)
        if job["fallback"]:
            shutil.copytree(job["fallback"], place / "fallback")
        (place / "reference").mkdir()
        for name in ("cases.npz", "few.npz"):
            shutil.copyfile(Path(job["reference"]) / name, place / "reference" / name)
        (place / "table.json").write_text(json.dumps(job["table"], indent=1), encoding="utf-8")
        (place / "service.json").write_text(json.dumps(job["about"], indent=1), encoding="utf-8")
    return tag


if __name__ == "__main__":
    build(json.load(sys.stdin))
