"""A model that brings code of its own leaves the files that are compared with their digests as they were."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.registry.cache import Cached, digest_of
from lockgate.registry.checked import checked
from lockgate.registry.client import quiet_import
from lockgate.registry.errors import Unusable
from lockgate.registry.words import FetchedModel, ModelVersion
from lockgate.services.compile.cache import of_folder
from lockgate.services.opened import opened
from lockgate.services.serving import sealed

SOURCE = Path(__file__).parents[3] / "src"
LOADER = """
class Halves:
    def predict(self, x, params=None):
        from {package} import late
        return late.half(x)


def _load_pyfunc(path):
    {first}
    return Halves()
"""
START = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy as np
from lockgate.services.compile import engines
from lockgate.services.serving import sealed
folder = Path(sys.argv[2])
sealed.check(folder, sys.argv[3])
manifest = json.loads((folder / "manifest.json").read_text())
print(engines.load(folder, manifest, 1).run({"x": np.ones((1, 3), "float32")}))
"""


def halves(folder: Path, package: str, first: str = "pass") -> FetchedModel:
    """A model whose loader is its author's, and imports more of its code only when it is asked."""
    code = folder / package
    code.mkdir()
    (code / "__init__.py").touch()
    (code / "loader.py").write_text(LOADER.format(package=package, first=first))
    (code / "late.py").write_text("def half(x):\n    return next(iter(x.values())) / 2\n")
    (folder / "data").write_text("what the loader is given")
    example = {"x": np.ones((4, 3), "float32")}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        quiet_import("mlflow.pyfunc").save_model(
            str(folder / "model"),
            loader_module=f"{package}.loader",
            data_path=str(folder / "data"),
            code_paths=[str(code)],
            signature=quiet_import("mlflow.models").infer_signature(example, example["x"]),
            input_example=example,
            pip_requirements=["numpy"],
        )
    shutil.rmtree(code)
    return checked(ModelVersion("halves", "1", "test"), Cached(folder / "model", digest_of(folder / "model")))


def test_a_model_with_code_is_compiled_and_started_again_and_again(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As users run it: with a variable that some shells set, Python leaves no files behind anyway."""
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    model = halves(tmp_path, "halves_of_one")
    found = make.compiled(model, make.spec_for("eager"), tmp_path / "cache")
    assert digest_of(model.path) == model.digest
    assert found.chosen
    assert of_folder(found.chosen.path) == found.chosen.digest  # it was loaded when it was proven

    entry = Path(shutil.copytree(found.chosen.path, tmp_path / "entry"))
    assert json.loads((entry / "manifest.json").read_text())["loader"] == "halves_of_one.loader"
    seal = sealed.write(entry)
    for _ in range(2):
        started = [sys.executable, "-c", START, str(SOURCE), str(entry), seal]
        assert "0.5" in subprocess.run(started, env=dict(os.environ), check=True, capture_output=True, text=True).stdout
    sealed.check(entry, seal)


def test_a_model_that_writes_among_its_own_files_is_refused_by_the_file(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # as it will be, so that it is undone
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    model = halves(tmp_path, "halves_that_write", "open(path + '.cache', 'a').write('x')")
    with pytest.raises(Unusable, match=r"halves version 1 changes data/data\.cache among its own files"):
        opened(model, make.TRUSTING)
