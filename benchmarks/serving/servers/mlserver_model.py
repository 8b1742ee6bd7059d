"""A custom runtime of MLServer, which has none for ONNX; protocol v2."""

from __future__ import annotations

import engine
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Model(MLModel):
    async def load(self) -> bool:
        self.engine = engine.Engine()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        given = {one.name: NumpyCodec.decode_input(one) for one in payload.inputs}
        output = NumpyCodec.encode_output("output", self.engine.run(given))
        return InferenceResponse(model_name=self.name, outputs=[output])
