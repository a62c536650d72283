"""Decode images in this process and do nothing else, so that a hostile file breaks this process.

It holds no key, no model and no other caller's image, cannot write a file, and the system ends it
where it takes too much memory or time. `decoders` starts it and talks to it; neither side reads a
pickle of the other.
"""

import json
import os
import sys
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path

from model_core.errors import InputError
from model_core.processing.preprocess import PreprocessConfig, preprocess

MEGABYTE = 1_000_000
_MOST_FILES = 64


def memory_bytes(max_pixels: int) -> int:
    """Limit the memory of decoding one image: the worst of Pillow's ways, 16-bit with alpha."""
    return 256 * MEGABYTE + 20 * max_pixels


def main() -> None:
    """Answer on the connection whose number is the first argument, until the other side closes."""
    # A signal that ends the process is all there is to say; the parent reads it from the exit code.
    connection = Connection(int(sys.argv[1]))
    limits = json.loads(connection.recv_bytes())
    _bound(limits["memory"])
    connection.send_bytes(b"ready")
    while True:
        try:
            asked = connection.recv_bytes()
        except EOFError:
            return
        _allow_cpu(limits["seconds"])
        connection.send_bytes(answer(asked, limits["max_pixels"], limits["memory"]))


def answer(asked: bytes, max_pixels: int, memory: int) -> bytes:
    """Decode the image of one message.

    Args:
        asked: A line of JSON, `size` and `fit` of the input; then the file.
        max_pixels: Limit on the image.
        memory: Bytes that decoding it may take.

    Returns:
        A line of JSON, the geometry or an `error`; then the pixels.
    """
    head, _, data = asked.partition(b"\n")
    config = PreprocessConfig(**json.loads(head))
    try:
        pixels, geometry = preprocess(data, config, max_pixels=max_pixels)
    except InputError as exc:
        return _line({"error": type(exc).__name__, "detail": str(exc)})
    except MemoryError:
        detail = f"decoding the image takes more than {memory // MEGABYTE} MB, the limit"
        return _line({"error": "UnreadableImageError", "detail": detail})
    return _line(asdict(geometry)) + pixels.tobytes()


def _line(value: dict[str, object]) -> bytes:
    return json.dumps(value).encode() + b"\n"


def _bound(memory: int) -> None:
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    total = pages * os.sysconf("SC_PAGE_SIZE") + memory
    for kind, limit in (
        (resource.RLIMIT_AS, total),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, _MOST_FILES),
    ):
        resource.setrlimit(kind, (limit, limit))


def _allow_cpu(seconds: float) -> None:
    """Let the process be ended (SIGXCPU) once it has worked for so long from now on."""
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
