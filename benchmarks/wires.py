"""How a photograph travels to a server and its mask back: as a form, as it is, or as tensors."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.bodies import MULTIPART, multipart

PNG = b"\x89PNG\r\n\x1a\n"
_HEAD_BYTES = "Inference-Header-Content-Length"


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent.

    Attributes:
        headers: Of the request.
        body: Of the request.
    """

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Wire:
    """Form of a server's requests and answers.

    Attributes:
        path: Of the URL.
        call: Makes the request of a photograph.
        mask: Takes the PNG out of an answer's headers and content; raises a ValueError where there
            is none.
    """

    path: str
    call: Callable[[bytes], Call]
    mask: Callable[[Mapping[str, str], bytes], bytes]


def _form(photograph: bytes) -> Call:
    return Call({"Content-Type": MULTIPART, "Accept": "image/png"}, multipart(photograph))


def _plain(photograph: bytes) -> Call:
    return Call({"Content-Type": "image/jpeg", "Accept": "image/png"}, photograph)


def _png(_: Mapping[str, str], content: bytes) -> bytes:
    if not content.startswith(PNG):
        raise ValueError("not a PNG")
    return content


def _tensors(photograph: bytes) -> Call:
    """Ask as the binary tensor data extension of KServe's protocol has it, as Triton's client does.

    Source: triton-inference-server/server, docs/protocol/extension_binary_data.md.
    """
    element = len(photograph).to_bytes(4, "little") + photograph
    sizes = {"binary_data_size": len(element)}
    image = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "parameters": sizes}
    mask = {"name": "mask", "parameters": {"binary_data": True}}
    head = json.dumps({"inputs": [image], "outputs": [mask]}).encode()
    headers = {"Content-Type": "application/octet-stream", _HEAD_BYTES: str(len(head))}
    return Call(headers, head + element)


def _first_tensor(headers: Mapping[str, str], content: bytes) -> bytes:
    start = int(headers[_HEAD_BYTES]) + 4 if _HEAD_BYTES in headers else 0
    return _png(headers, content[start:])


FORM, PLAIN, TENSORS = "form", "plain", "tensors"
WIRES = {
    FORM: Wire("/segment", _form, _png),
    PLAIN: Wire("/segment", _plain, _png),
    TENSORS: Wire("/v2/models/segment/infer", _tensors, _first_tensor),
}
"""By the name that the load generator is told."""
