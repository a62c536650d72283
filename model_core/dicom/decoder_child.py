"""Decodes one JPEG 2000 or JPEG-LS frame: run as a program by `decoder_process`, never imported.

    python -I decoder_child.py {jpeg-2000|jpeg-ls} SECONDS BYTES < frame > samples

It imports nothing of this project, so that it starts fast and knows nothing.
"""

import sys


def main() -> None:
    """Limit this process, decode, and write samples in the order of rows, columns and colours."""
    kind, seconds, memory_bytes = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    try:
        import resource
    except ImportError:  # not on Windows, where only the parent's clock limits it
        pass
    else:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    frame = sys.stdin.buffer.read()
    if kind == "jpeg-ls":
        import jpeg_ls

        samples = jpeg_ls.jlsread(frame)
    else:
        from openjpeg.utils import decode

        samples = decode(frame, j2k_format=0)
    sys.stdout.buffer.write(samples.tobytes())


if __name__ == "__main__":
    main()
