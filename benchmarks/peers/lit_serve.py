"""LitServe: its API object is loaded in worker processes, which decode, run and encode in a row."""

from typing import Any

import litserve
import numpy as np
from fastapi import Request, Response

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps


class Segmentation(litserve.LitAPI):
    """The four methods that LitServe calls, in this order."""

    def setup(self, device: str) -> None:
        self.steps = open_steps(PeerOptions.read())

    def decode_request(self, request: Request) -> Any:
        form: Any = request  # LitServe sends the parsed form under this hint
        return self.steps.before(form["image"].file.read())

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack([pixels for pixels, _ in inputs]), [known for _, known in inputs]

    def predict(self, x: Any) -> Any:
        pixels, known = x
        if isinstance(known, list):  # LitServe's batching is on
            return list(zip(self.steps.network(pixels), known, strict=True))
        return self.steps.network(pixels[None])[0], known

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, output: Any) -> Response:
        logits, known = output
        return Response(
            self.steps.after(logits, known),
            media_type="image/png",
            headers={"X-Backend": self.steps.backend},
        )


if __name__ == "__main__":
    options = PeerOptions.read()
    api = Segmentation(
        max_batch_size=options.batch,
        batch_timeout=options.batch_wait_ms / 1000 if options.batch > 1 else 0.0,
        api_path="/segment",
    )
    server = litserve.LitServer(
        api, accelerator="cpu", devices=1, workers_per_device=options.workers, timeout=60
    )
    server.run(
        host="127.0.0.1",
        port=options.port,
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
    )
