"""Mosec: a front in Rust, and three stages of worker processes that it feeds over Unix sockets.

Decoding, network and encoding are a stage each, as its documentation has it for mixed work
(mosecorg.github.io/mosec: pipelined stages), so that one photograph is decoded beside another's
network. It hands a stage the body as it came and knows no forms, so photographs come without one.
"""

import os
from typing import Any

import mosec
import numpy as np

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import open_steps

OPTIONS = PeerOptions.read()


class Decode(mosec.Worker):
    def __init__(self) -> None:
        super().__init__()
        self.steps = open_steps(OPTIONS, network=False)

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: bytes) -> Any:
        return self.steps.before(data)


class Network(mosec.Worker):
    def __init__(self) -> None:
        super().__init__()
        self.steps = open_steps(OPTIONS)

    def forward(self, data: Any) -> Any:
        if OPTIONS.batch == 1:
            pixels, known = data
            return self.steps.network(pixels[None])[0], known
        logits = self.steps.network(np.stack([pixels for pixels, _ in data]))
        return [(each, known) for each, (_, known) in zip(logits, data, strict=True)]


class Encode(mosec.Worker):
    resp_mime_type = "image/png"

    def __init__(self) -> None:
        super().__init__()
        self.steps = open_steps(OPTIONS, network=False)

    def forward(self, data: Any) -> bytes:
        return self.steps.after(*data)

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    os.environ |= {
        "MOSEC_ADDRESS": "127.0.0.1",
        "MOSEC_PORT": str(OPTIONS.port),
        "MOSEC_TIMEOUT": "60000",
        "MOSEC_LOG_LEVEL": "warning",
    }
    server = mosec.Server()
    server.append_worker(Decode, route="/segment")
    server.append_worker(
        Network,
        num=OPTIONS.workers,
        max_batch_size=OPTIONS.batch,
        max_wait_time=round(OPTIONS.batch_wait_ms),
        route="/segment",
    )
    server.append_worker(Encode, route="/segment")
    server.run()
