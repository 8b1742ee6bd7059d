"""The Open Inference Protocol (v2), as KServe, Triton and MLServer speak it, beside `/predict`.

An inference takes the way of `/predict`: the same checks of its values, limits, batches, metrics and capture. Only what
is read from its body and what is written into the answer's is different.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import quote

import numpy as np
import orjson

from . import v2_answer, v2_tensors
from .accept import whole
from .body import Head, Message, Receive, Scope, Send, head
from .fields import Array
from .refusals import BadRequest, Refusal, WrongMethod
from .schema import Arrays, Schema
from .v2_request import BINARY, Asked, Requests

ROOT = "/v2"
_JSON = b"application/json"
_LENGTH = b"inference-header-content-length"
_LONGEST_ID, _LONGEST = 128, 80
_PLATFORMS = {
    "onnxruntime": "onnxruntime_onnx",
    "torchscript": "pytorch_torchscript",
    "aotinductor": "pytorch_aotinductor",
    "torch-compile": "pytorch_inductor",
    "tensorrt": "tensorrt_plan",
    "savedmodel": "tensorflow_savedmodel",
    "xla": "tensorflow_xla",
}
"""The protocol's form is `<project>_<format>`; what is not here is its target's name."""


class Form(Protocol):
    """How a request is written, where it is not as `/predict` takes it."""

    def decode(self, request: Head, body: bytes) -> Arrays:
        """Raises `Refusal`."""

    def encode(self, outputs: Mapping[str, Array]) -> tuple[bytes, bytes]:
        """Content type and body. Raises `Refusal`."""

    @property
    def line(self) -> bytes:
        """A header of its own in the answer, as it is written."""


class Answering(Protocol):
    async def handle(self, scope: Scope, receive: Receive, send: Send, form: Form | None = None) -> None: ...
    async def respond(self, send: Send, code: int, kind: bytes, answer: bytes, request_id: bytes) -> None: ...
    async def refuse(self, send: Send, refusal: Refusal, request_id: bytes) -> None: ...


class V2:
    """`names`: what the model is called, the registered model's name first. `bento`: its full tag, or nothing."""

    def __init__(self, schema: Schema, names: tuple[str, str], version: str, target: str) -> None:
        self._requests, self._version = Requests(schema), version
        model, bento = names[0], names[1].partition(":")
        self._names = tuple(dict.fromkeys(name for name in (model, bento[0]) if name))
        self._target = _PLATFORMS.get(target, target)
        self._inputs = [_tensor(f.name, np.dtype(f.dtype), f.shape) for f in schema.fields]
        self.outputs: tuple[str, ...] = ()
        """Names, once `learn` knows them."""
        server = {"name": "lockgate", "version": bento[2], "extensions": ["binary_tensor_data"]}
        self._about = {
            ROOT: orjson.dumps(server),
            f"{ROOT}/health/live": b'{"live":true}',
            f"{ROOT}/health/ready": b'{"live":true,"ready":true}',  # the specification has the one, KServe the other
        }
        self._infer = {
            f"{path}/infer": {"model_name": name, "model_version": version}
            for name in self._names
            for path in self._paths(name)
        }
        self._written = {quote(path).encode(): named for path, named in self._infer.items()}
        self.learn({})

    def learn(self, outputs: Mapping[str, Array]) -> None:
        """What the model answers for one row: no signature can be relied on for that."""
        self.outputs = tuple(outputs)
        told = [_tensor(name, value.dtype, (-1, *value.shape[1:])) for name, value in outputs.items()]
        about = {"versions": [self._version], "platform": self._target, "inputs": self._inputs, "outputs": told}
        for name in self._names:
            for path in self._paths(name):
                self._about[path] = orjson.dumps({"name": name, **about})
                self._about[f"{path}/ready"] = orjson.dumps({"name": name, "ready": True})

    def _paths(self, name: str) -> tuple[str, str]:
        return f"{ROOT}/models/{name}", f"{ROOT}/models/{name}/versions/{self._version}"

    def form(self, url: bytes, scope: Scope) -> Form | None:
        """Of an inference at this address, as it came; None where another way has to look at it."""
        named = self._written.get(url)
        return None if named is None else _Inference(self._requests, named, self.outputs, scope)

    async def serve(self, core: Answering, scope: Scope, receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if method == "POST" and (named := self._infer.get(path) or self._infer.get(path.rstrip("/"))):
            form = _Inference(self._requests, named, self.outputs, scope)
            await core.handle(scope, receive, form.sends(send), form)
        elif method in ("GET", "HEAD") and (page := self._about.get(path.rstrip("/"))):
            await core.respond(send, 200, _JSON, page, head(scope).id)
        else:
            await core.refuse(send, self._refusal(path.rstrip("/"), method), head(scope).id)

    def _refusal(self, path: str, method: str) -> BadRequest:
        for known, allowed in ((self._infer, "POST"), (self._about, "GET, HEAD")):
            if path in known:
                return WrongMethod(f"{method[:20]} is not answered at {path[:_LONGEST]}; use {allowed}", allowed)
        parts = path.split("/")[2:]
        if parts[:1] == ["models"] and len(parts) > 1 and parts[1] not in self._names:
            return BadRequest(f"no model {parts[1][:_LONGEST]!r} is here; this replica serves {self._served}", 404)
        if parts[2:3] == ["versions"] and parts[3:4] != [self._version]:
            hint = "without a version in the path, whichever version is served answers"
            asked = parts[3][:_LONGEST] if len(parts) > 3 else ""
            return BadRequest(f"version {asked!r} is not here; this replica serves {self._served}; {hint}", 404)
        return BadRequest(f"nothing is at this path; POST tensors to {self._paths(self._names[0])[0]}/infer", 404)

    @property
    def _served(self) -> str:
        return f"{' and '.join(map(repr, self._names))}, version {self._version}"


class _Inference:
    """One request."""

    def __init__(self, requests: Requests, named: Mapping[str, str], outputs: tuple[str, ...], scope: Scope) -> None:
        self._requests, self._named, self._known = requests, named, outputs
        self._split: bytes | None = None
        self._has_id = False
        for key, value in scope["headers"]:
            if key == _LENGTH:
                self._split = value
            elif key == b"x-request-id":
                self._has_id = True
        self._asked: Asked
        self._json_length: int | None = None

    def decode(self, request: Head, body: bytes) -> Arrays:
        whole(request.encoding)
        if self._split is not None and not self._split.isdigit():
            raise BadRequest(f"{_LENGTH.decode()} must be a number of bytes", 400)
        split = None if self._split is None else int(self._split[:20])
        x, self._asked = self._requests.read(request.content_type, body, split)
        if self._known and self._asked.outputs:
            self._asked.known(self._known)
        named = self._asked.id
        if named and not self._has_id and len(named) <= _LONGEST_ID and named.isascii() and named.isprintable():
            request.id = named.encode()
        return x

    def encode(self, outputs: Mapping[str, Array]) -> tuple[bytes, bytes]:
        answer, self._json_length = v2_answer.encode(self._named, self._asked, outputs)
        return (_JSON if self._json_length is None else BINARY.encode()), answer

    @property
    def line(self) -> bytes:
        return b"" if self._json_length is None else b"%b: %d\r\n" % (_LENGTH, self._json_length)

    def sends(self, send: Send) -> Send:
        """Tells in a header how long the JSON before the bytes is."""

        async def sent(message: Message) -> None:
            if self._json_length is not None and message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (_LENGTH, b"%d" % self._json_length)]
            await send(message)

        return sent


def _tensor(name: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> dict[str, Any]:
    return {"name": name, "datatype": v2_tensors.datatype(dtype), "shape": list(shape)}
