"""Decode one image or frame: run as a program by `decoder_process`, never imported.

    python -I decoder_child.py {HEIC|AVIF|jpeg-2000|jpeg-ls} SECONDS BYTES PIXELS < data > samples

It imports nothing of this project, so that it starts fast and holds no secret. Of HEIC and AVIF a
line of JSON comes first, then the colour profile, then the pixels.
"""

import io
import json
import sys
from typing import Any


def main() -> None:
    """Limit this process, decode, and write samples in the order of rows, columns and colours."""
    kind, seconds, memory_bytes, max_pixels = sys.argv[1], *map(int, sys.argv[2:5])
    _bound(seconds, memory_bytes)
    data = sys.stdin.buffer.read()
    if kind in ("HEIC", "AVIF"):
        _write_image(kind, data, max_pixels)
        return
    if kind == "jpeg-ls":
        import jpeg_ls

        samples = jpeg_ls.jlsread(data)
    else:
        from openjpeg.utils import decode

        samples = decode(data, j2k_format=0)
    sys.stdout.buffer.write(samples.tobytes())


def _write_image(kind: str, data: bytes, max_pixels: int) -> None:
    """Hold the limit on the header, decode the primary image, write it."""
    image = (_heic if kind == "HEIC" else _avif)(data)
    width, height = image.size
    frames = getattr(image, "n_frames", 1)
    said: dict[str, Any] = {"width": width, "height": height, "frames": frames}
    if frames > 1 or width * height > max_pixels:
        _write(said)
        return
    picture = image.to_pillow() if kind == "HEIC" else image
    picture.load()
    picture.info.pop("xmp", None)  # where Pillow looks for an orientation, too
    # The transformations of HEIC are applied by its decoder, where EXIF has no say; Pillow puts
    # those of AVIF into EXIF.
    turn = 1 if kind == "HEIC" else picture.getexif().get(0x0112, 1)
    profile = picture.info.get("icc_profile") or b""
    if picture.mode not in ("L", "LA", "RGB", "RGBA"):
        picture = picture.convert("RGBA" if picture.mode.endswith(("A", "a")) else "RGB")
    said |= {"mode": picture.mode, "size": picture.size, "turn": turn, "profile": len(profile)}
    _write(said, profile, picture.tobytes())


def _heic(data: bytes) -> Any:
    import pi_heif

    pi_heif.options.DECODE_THREADS = 1
    file = pi_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True)
    return file[file.primary_index]


def _avif(data: bytes) -> Any:
    from PIL import AvifImagePlugin, Image

    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    return Image.open(io.BytesIO(data), formats=("AVIF",))


def _write(said: dict[str, Any], *content: bytes) -> None:
    sys.stdout.buffer.write(b"".join([json.dumps(said).encode(), b"\n", *content]))


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
