"""Live requests, 40 a second from 4 clients, until Ctrl-C: python traffic.py. Says each second who answered."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter

HOST, PATH = "127.0.0.1:8080", "/v2/models/fraud/infer"
CLIENTS, EACH = 4, 10.0


def ask(connection: http.client.HTTPConnection) -> str:
    row = [random.gauss(0, 1) for _ in range(4)]
    tensor = {"name": "row", "datatype": "FP32", "shape": [1, 4], "data": row}
    connection.request("POST", PATH, json.dumps({"inputs": [tensor]}), {"content-type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    return f"version {answer['model_version']}" if response.status == http.HTTPStatus.OK else str(response.status)


def client(answers: Counter[str]) -> None:
    connection = http.client.HTTPConnection(HOST, timeout=15)
    while True:
        began = time.monotonic()
        try:
            answers[ask(connection)] += 1
        except (OSError, ValueError, http.client.HTTPException):
            answers["nobody"] += 1
            connection.close()
        time.sleep(max(0.0, 1 / EACH - (time.monotonic() - began)))


def main() -> None:
    answers: Counter[str] = Counter()
    for _ in range(CLIENTS):
        threading.Thread(target=client, args=(answers,), daemon=True).start()
    while True:
        time.sleep(1)
        print(", ".join(f"{who}: {count}" for who, count in sorted(answers.items())) or "no answer yet", flush=True)
        answers.clear()


if __name__ == "__main__":
    main()
