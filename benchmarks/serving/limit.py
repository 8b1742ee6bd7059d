"""What no server can exceed: the engine in a loop, alone, and with JSON (or npy) around it, without any server.

In a process of its own: python -m benchmarks.serving.limit FOLDER FORM SECONDS. Its one line is JSON, calls a second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from .forms import FORMS
from .register import EXAMPLES, FILE
from .side import Examples


def main() -> None:
    folder, form, seconds = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    examples = Examples.read(folder / EXAMPLES)
    engine = _engine(folder / FILE)
    rows = [{name: value[i : i + 1] for name, value in examples.inputs.items()} for i in range(len(examples.output))]
    contents = examples.bodies(FORMS["lists npy" if form == "npy" else "lists"])
    decode = engine.run_npy if form == "npy" else lambda body: engine.run(orjson.loads(body))

    def whole(body: bytes) -> None:
        orjson.dumps({"output": np.asarray(decode(body))}, option=orjson.OPT_SERIALIZE_NUMPY)

    print(json.dumps({"engine": _rate(engine.run, rows, seconds), "json": _rate(whole, contents, seconds)}))


def _engine(file: Path) -> Any:
    os.environ["BENCHMARK_MODEL"] = str(file)
    sys.path.insert(0, str(Path(__file__).parent / "servers"))
    from engine import Engine

    return Engine()


def _rate(call: Callable[[Any], Any], given: list[Any], seconds: float) -> float:
    for one in given[:4]:
        call(one)
    count, began, turn = 0, time.perf_counter(), cycle(given)
    while (now := time.perf_counter()) - began < seconds:
        call(next(turn))
        count += 1
    return count / (now - began)


if __name__ == "__main__":
    main()
