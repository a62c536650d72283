"""NVIDIA Triton: its server in C++, and the instances of a model in this Python (PyTriton).

Several instances answer beside each other, as its documentation has it for more throughput
(triton-inference-server.github.io/pytriton/latest/binding_models, multi-instance inference). All
share one engine, which works on several photographs at once; where its batching is on, an instance
gets what came within some milliseconds.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.peers.options import PeerOptions
from benchmarks.peers.steps import Steps, open_steps


def instance(steps: Steps) -> Any:
    """Make one instance of the model, from photographs to masks."""

    @batch
    def segment(image: Any) -> dict[str, Any]:
        before = [steps.before(data) for data in image[:, 0]]
        logits = steps.network(np.stack([pixels for pixels, _ in before]))
        masks = [steps.after(each, known) for each, (_, known) in zip(logits, before, strict=True)]
        return {"mask": np.array(masks, dtype=object)[:, None]}

    return segment


if __name__ == "__main__":
    options = PeerOptions.read()
    # Two engines in one process may be pinned to the same core.
    steps = open_steps(replace(options, threads=0))
    wait_us = round(1000 * options.batch_wait_ms) if options.batch > 1 else 0
    server = TritonConfig(http_address="127.0.0.1", http_port=options.port, allow_grpc=False,
                          allow_metrics=False)  # fmt: skip
    with Triton(config=server) as triton:
        triton.bind(
            model_name="segment",
            infer_func=[instance(steps) for _ in range(options.workers)],
            inputs=[Tensor(name="image", dtype=bytes, shape=(1,))],
            outputs=[Tensor(name="mask", dtype=bytes, shape=(1,))],
            config=ModelConfig(
                max_batch_size=options.batch,
                batcher=DynamicBatcher(max_queue_delay_microseconds=wait_us),
            ),
        )
        triton.serve()
