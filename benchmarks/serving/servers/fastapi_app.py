"""FastAPI as its documentation teaches: a pydantic model of the body, a plain `def`, uvicorn."""

from __future__ import annotations

from typing import Annotated, Any

import engine
import uvicorn
from fastapi import Body, FastAPI
from pydantic import BaseModel, create_model

app, model = FastAPI(), engine.Engine()


def _nested(name: str) -> Any:
    kind: Any = float if model.inputs[name].kind == "f" else int
    for _ in (0, *model.shapes[name]):
        kind = list[kind]
    return kind


Rows: Any = create_model("Rows", **{name: (_nested(name), ...) for name in model.inputs})


class Answer(BaseModel):
    output: list[list[float]]


def of_rows(rows: Rows) -> Answer:
    return Answer(output=model.run({name: getattr(rows, name) for name in model.inputs}).tolist())


def of_npy(body: Annotated[bytes, Body(media_type="application/x-npy")]) -> Answer:
    return Answer(output=model.run_npy(body).tolist())


of_rows.__annotations__ = {"rows": Rows, "return": Answer}
app.post("/predict")(of_npy if engine.binary() else of_rows)

if __name__ == "__main__":
    uvicorn.run(app, host=engine.HOST, port=engine.port(), log_level="warning", access_log=False)
