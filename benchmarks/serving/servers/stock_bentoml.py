"""BentoML as its documentation teaches: arrays as types, a plain `def`."""

from __future__ import annotations

import bentoml
import engine
import numpy as np


@bentoml.service
class Table:
    def __init__(self) -> None:
        self.engine = engine.Engine()
        self.name = next(iter(self.engine.inputs))

    @bentoml.api
    def predict(self, x: np.ndarray) -> np.ndarray:
        return self.engine.run({self.name: x})


@bentoml.service
class Text:
    def __init__(self) -> None:
        self.engine = engine.Engine()

    @bentoml.api
    def predict(self, input_ids: np.ndarray, attention_mask: np.ndarray) -> np.ndarray:
        return self.engine.run({"input_ids": input_ids, "attention_mask": attention_mask})
