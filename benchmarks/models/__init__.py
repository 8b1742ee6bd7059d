"""Models in plain torch with seeded weights, for compiling and for serving. Nothing is downloaded."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lockgate.services.compile.words import About, Arrays, Input, Model, Tolerance

SEED = 0
_TOKENS, _VOCABULARY = 128, 30522
_IMAGE = 224
_FILES = {"pickle": "model.pt", "pt2": "model.pt2"}


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the models. `rows`: of its example, on which parity is proven; fewer where a row takes long."""

    module: str
    inputs: tuple[Input, ...]
    rows: int
    example: Callable[[int], Arrays]
    unit: str = "rows"


def _vectors(rows: int) -> Arrays:
    return {"x": np.random.default_rng(7).normal(size=(rows, 30)).astype("float32")}


def _images(rows: int) -> Arrays:
    """Coarse patches with some noise: pictures of pure noise look alike to a network."""
    rng = np.random.default_rng(7)
    coarse = rng.normal(size=(rows, 3, 14, 14)).repeat(_IMAGE // 14, axis=2).repeat(_IMAGE // 14, axis=3)
    return {"image": (coarse + 0.3 * rng.normal(size=coarse.shape)).astype("float32")}


def _texts(rows: int) -> Arrays:
    """Token ids, of which the mask leaves between 16 and all."""
    rng = np.random.default_rng(7)
    lengths = rng.integers(16, _TOKENS + 1, (rows, 1))
    mask = (np.arange(_TOKENS) < lengths).astype("int64")
    ids = rng.integers(1000, _VOCABULARY, (rows, _TOKENS))
    ids[:, 0] = 101
    return {"input_ids": ids * mask, "attention_mask": mask}


_TEXT = tuple(Input(name, "int64", (-1, _TOKENS), column=False) for name in ("input_ids", "attention_mask"))
_PICTURE = (Input("image", "float32", (-1, 3, _IMAGE, _IMAGE), column=False),)
_VECTOR = (Input("x", "float32", (-1, 30), column=False),)
KINDS = {
    "mlp": Kind("mlp", _VECTOR, 256, _vectors),
    "minilm": Kind("minilm", _TEXT, 16, _texts, unit="sequences"),
    "resnet50": Kind("resnet50", _PICTURE, 16, _images, unit="images"),
    "bert-mini": Kind("bert_mini", _TEXT, 16, _texts, unit="sequences"),
    "bert-base": Kind("bert", _TEXT, 8, _texts, unit="sequences"),
}


def about(name: str, folder: Path, rows: int) -> About:
    """What is known of a model that `prepare` has written into `folder`.

    A pickled module is the quicker baseline. Without cloudpickle it is an exported program, as MLflow keeps it.
    """
    digest = hashlib.sha256(f"{name} {SEED} {rows}".encode()).hexdigest()
    kind, storage = KINDS[name], "pickle" if find_spec("cloudpickle") else "pt2"
    file = folder / _FILES[storage]
    return About(f"{name} of the benchmark", digest, "pytorch", storage, file, kind.inputs, kind.example(rows))


def tolerance(rows: int) -> Tolerance:
    """By value only: random weights put labels on a knife's edge, and an embedding has none."""
    return Tolerance(rows=rows, min_agreement=0.0)


def prepare(name: str, known: About) -> None:
    """Build the module and write it where `known` says."""
    import torch

    module = built(name)
    if known.storage == "pickle":
        torch.save(module, known.file)
        return
    example = tuple(torch.from_numpy(value) for value in KINDS[name].example(2).values())
    free = tuple({0: torch.export.Dim("batch")} for _ in example)
    torch.export.save(torch.export.export(module, example, dynamic_shapes=free), known.file)


def built(name: str) -> Any:
    """The torch module, ready to answer. Its weights are seeded."""
    import torch

    torch.manual_seed(SEED)
    kind = KINDS[name]
    module = import_module(f"{__name__}.{kind.module}").build()
    if hasattr(module, "settle"):
        module.settle(*(torch.from_numpy(value) for value in kind.example(16).values()))
    return module.eval()


def opened(known: About) -> Model:
    """The model in memory, in whichever process asks."""
    import torch

    if known.storage == "pickle":
        native = torch.load(known.file, weights_only=False)
    else:
        native = torch.export.load(known.file).module()
    return Model(known, native, partial(answer, native))


def answer(native: Any, x: Arrays) -> Arrays:
    import torch

    with torch.inference_mode():
        return {"output": native(*(torch.from_numpy(np.ascontiguousarray(value)) for value in x.values())).numpy()}
