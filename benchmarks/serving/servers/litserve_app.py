"""LitServe as its documentation teaches, one worker; without its access log."""

from typing import Any

import engine
import litserve


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe names it
        self.engine = engine.Engine()

    def decode_request(self, request):  # noqa: ANN001, ANN201 - LitServe reads the annotation, and wants none
        return request

    def predict(self, x: Any) -> Any:
        return self.engine.run(x)

    def encode_response(self, output: Any) -> Any:
        return {"output": output.tolist()}


class Binary(Api):
    def decode_request(self, request):  # noqa: ANN001, ANN201 - as above
        return request["content"].file.read()

    def predict(self, x: Any) -> Any:
        return self.engine.run_npy(x)


if __name__ == "__main__":
    api = Binary() if engine.binary() else Api()
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host=engine.HOST, port=engine.port(), num_api_servers=1, log_level="warning", generate_client_file=False)
