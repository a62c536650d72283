"""The network as ONNX, the form in which other frameworks and runtimes take it over."""

import warnings

import torch

from model_core.backends.byte_network import ByteNetwork


def onnx_bytes(network: ByteNetwork) -> bytes:
    """The bytes of an `.onnx` file: `images` uint8 (N, S, S, 3) in, `logits` float32 (N, S, S) out.

    Normalisation is within, and N may be anything.

    Raises:
        ModuleNotFoundError: `onnx` or `onnxscript` is not installed (the extra `export`).
    """
    count = torch.export.Dim("count", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            network,
            (network.example(2),),
            dynamo=True,
            dynamic_shapes=({0: count},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise RuntimeError("torch.onnx.export gave no program")
    written: bytes = program.model_proto.SerializeToString()
    return written
