"""torch.compile: the source program is compiled again at each start, from a cache that travels with it."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .. import arrays, fingerprint
from . import torch_graphs, torch_values
from .torch_eager import TorchEngine, module

CACHE = "cache"
EXAMPLE = "example.npz"
_VARIABLE = "TORCHINDUCTOR_CACHE_DIR"


def load(folder: Path, manifest: Mapping[str, Any], threads: int | None) -> TorchEngine:
    """Ready for every batch size: the first calls compile, so they are made here."""
    if missing := no_compiler():
        raise RuntimeError(
            f"torch.compile asks for the compiler at each start, also when nothing is left to do: {missing}"
        )
    torch_values.use(threads)
    fits = manifest.get("cache_for") == machine(manifest["device"])
    with inductor_cache(folder / CACHE if fits else None):
        return compiled(folder, manifest)


def no_compiler() -> str | None:
    """Inductor's generated code is C++, on a GPU its launchers are."""
    return None if shutil.which(os.environ.get("CXX", "g++")) else "no C++ compiler (g++) here"


def compiled(folder: Path, manifest: Mapping[str, Any]) -> TorchEngine:
    import torch
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor
    from torch._inductor.async_compile import shutdown_compile_workers

    dynamic = torch.compile(module(folder, manifest), dynamic=True, mode=manifest["mode"])
    engine = TorchEngine(torch_graphs.graphed(dynamic, manifest), manifest)
    example = arrays.load(folder / EXAMPLE)["example"]
    # Past its limit Dynamo runs the module as it is, which is not what was asked for.
    with inductor.patch(freezing=manifest["freezing"]), dynamo.patch(fail_on_recompile_limit_hit=True):
        for rows in manifest["warm"]:
            engine.run({name: value[[0] * rows] for name, value in example.items()})
    shutdown_compile_workers()
    return engine


def machine(device: Any) -> dict[str, Any]:
    """What the cache's machine code depends on. Inductor's own keys hold no processor, only its widest vectors."""
    return fingerprint.machine(device) | {"torch": version("torch")}


@contextmanager
def inductor_cache(filled: Path | None = None) -> Iterator[Path]:
    """Inductor's files in a folder of their own, gone afterwards. It writes there, so `filled` is copied."""
    before = os.environ.get(_VARIABLE)
    with tempfile.TemporaryDirectory(prefix="lockgate-inductor-") as folder:
        if filled is not None and filled.is_dir():
            shutil.copytree(filled, folder, dirs_exist_ok=True)
        os.environ[_VARIABLE] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop(_VARIABLE)
            if before is not None:
                os.environ[_VARIABLE] = before
