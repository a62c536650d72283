"""Decodes one JPEG 2000 or JPEG-LS frame: run as a program by `decoder_process`, never imported.

    python -I decoder_child.py {jpeg-2000|jpeg-ls} SECONDS BYTES < frame > samples

It imports nothing of this project, so that it starts fast and knows nothing.
"""

import sys


def main() -> None:
    """Limit this process, decode, and write samples in the order of rows, columns and colours."""
    kind, seconds, memory_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    _bound(seconds, memory_bytes)
    frame = sys.stdin.buffer.read()
    if kind == "jpeg-ls":
        import jpeg_ls

        samples = jpeg_ls.jlsread(frame)
    else:
        from openjpeg.utils import decode

        samples = decode(frame, j2k_format=0)
    sys.stdout.buffer.write(samples.tobytes())


def _bound(seconds: int, memory_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # not on Windows, where only the parent's clock limits it
        return
    for kind, limit in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)  # the parent may be bounded itself
        most = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (most, most))


if __name__ == "__main__":
    main()
