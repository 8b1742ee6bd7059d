"""A server of the Open Inference Protocol (v2) in plain Python: python server.py VERSION PORT [--fails SHARE].

It stands for Triton, KServe, MLServer or whatever serves your models. It scores a transaction: a row of four numbers.
With --fails it answers that share of the requests with 500, as a bad version would.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NAME = "fraud"
WEIGHTS = {"1": (-1.0, 2.0, -0.5, 0.1), "2": (-1.0, 2.1, -0.5, 0.2)}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    version, fails = "1", 0.0

    def do_GET(self) -> None:
        if self.path in {"/v2/health/live", "/v2/health/ready"}:
            self._answer(200, {"ready": True})
        elif self.path == f"/v2/models/{NAME}/ready":
            self._answer(200, {"name": NAME, "ready": True})
        elif self.path == f"/v2/models/{NAME}":
            self._answer(200, {"name": NAME, "versions": [self.version], "platform": "python"})
        else:
            self._answer(404, {"error": f"nothing is at {self.path}"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path != f"/v2/models/{NAME}/infer":
            self._answer(404, {"error": f"nothing is at {self.path}"})
        elif random.random() < self.fails:  # noqa: S311 - no secret
            self._answer(500, {"error": "this version is a bad one"})
        else:
            try:
                self._answer(200, self._scored(json.loads(body)))
            except (ValueError, LookupError, TypeError) as error:
                self._answer(400, {"error": f"send a tensor of rows with four numbers ({error})"})

    def _scored(self, request: dict[str, Any]) -> dict[str, Any]:
        tensor = request["inputs"][0]
        rows, width = tensor["shape"]
        weights = WEIGHTS.get(self.version, WEIGHTS["2"])
        cells = [tensor["data"][at * width : (at + 1) * width] for at in range(rows)]
        scores = [1 / (1 + math.exp(-sum(w * x for w, x in zip(weights, row, strict=True)))) for row in cells]
        output = {"name": "score", "datatype": "FP32", "shape": [rows], "data": scores}
        return {"model_name": NAME, "model_version": self.version, "outputs": [output]}

    def _answer(self, status: int, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """A line for each request is more than anybody reads."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version")
    parser.add_argument("port", type=int)
    parser.add_argument("--fails", type=float, default=0.0, metavar="SHARE", help="of the requests, like 0.5")
    given = parser.parse_args()
    Handler.version, Handler.fails = given.version, given.fails
    with Server(("127.0.0.1", given.port), Handler) as server:
        print(f"version {given.version} of {NAME} answers on http://127.0.0.1:{given.port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
