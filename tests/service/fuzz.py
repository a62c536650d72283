"""A mutation fuzzer of everything that takes a file: the same requests for the same seed.

On demand, against a service that runs (what is answered badly is saved, to be sent again):

    python -m tests.service.fuzz --count 100000 --seed 7 --url http://127.0.0.1:8000 --save found
"""

import argparse
import json
import random
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
from PIL import Image

from model_core.masks.rle import encode_rle
from tests.fixtures.dicom_files import dicom, dicom_jpeg
from tests.fixtures.pictures import encode, exif, lesion, tiff_file

DELIBERATE = {503, 504}
"""Statuses above 499 that are an answer: the service is full, or too late."""

_SIZE = (48, 64)
_NUMBERS = (0, 1, 2, 7, 8, 16, 127, 128, 255, 256, 32_767, 65_535, 2**24, 2**31 - 1, 2**32 - 1)
_BOUNDARY = b"fuzz"


@dataclass(frozen=True)
class Shot:
    """One request.

    Attributes:
        kind: What it began as, for the summary.
        target: Path and query.
        content_type: Of the body.
        body: The mutated bytes.
    """

    kind: str
    target: str
    content_type: str
    body: bytes


def photographs() -> dict[str, bytes]:
    """Small drawn photographs in every form that is read."""
    rgb = lesion(*_SIZE)
    grey16 = struct.pack("<4I", 1, 2, 3, 4) * 8
    return {
        "jpeg": encode(rgb, "JPEG", exif=exif(6)),
        "jpeg progressive": encode(rgb, "JPEG", progressive=True, subsampling=2),
        "jpeg grey": encode(rgb.convert("L"), "JPEG"),
        "jpeg cmyk": encode(rgb.convert("CMYK"), "JPEG"),
        "png": encode(rgb),
        "png palette": encode(rgb.convert("P")),
        "png alpha": encode(rgb.convert("RGBA")),
        "png 16 bit": encode(Image.fromarray(np.full(_SIZE, 40_000, np.uint16))),
        "png 1 bit": encode(rgb.convert("1")),
        "tiff": encode(rgb, "TIFF"),
        "tiff lzw": encode(rgb, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encode(rgb, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encode(rgb, "TIFF", compression="jpeg"),
        "tiff 16 bit": tiff_file((8, 8), grey16, bits=16, channels=1),
        "webp": encode(rgb, "WEBP"),
        "webp lossless": encode(rgb.convert("RGBA"), "WEBP", lossless=True),
        "bmp": encode(rgb, "BMP"),
        "bmp 8 bit": encode(rgb.convert("L"), "BMP"),
        "dicom": dicom(rgb),
        "dicom jpeg": dicom_jpeg(rgb, "YBR_FULL_422"),
    }


def shots(seed: int, count: int) -> Iterator[Shot]:
    """Requests, drawn from a seed."""
    rng = random.Random(seed)
    seeds = photographs()
    mask = np.asarray(lesion(*_SIZE).convert("L")) < 100
    truth = encode(Image.fromarray(mask))
    rle = {"size": list(_SIZE), "counts": encode_rle(mask)["counts"]}
    runs = {"size": list(_SIZE), "counts": [10, 20, _SIZE[0] * _SIZE[1] - 30]}
    for _ in range(count):
        way = rng.random()
        if way < 0.70:
            kind = rng.choice(list(seeds))
            data = mutate(rng, seeds[kind], other=rng.choice(list(seeds.values())))
            form = rng.random()
            if form < 0.1:
                images = rng.sample([("images", data), ("images", seeds["png"])], 2)
                yield Shot(kind, "/segment/batch", *_form(images))
            elif form < 0.3:
                yield Shot(kind, "/segment", *_form([("image", data)]))
            else:
                yield Shot(kind, _query(rng), "application/octet-stream", data)
        elif way < 0.80:
            data = mutate(rng, truth, other=seeds["png"])
            yield Shot("mask png", "/evaluate", *_form([("truth", data), ("pred", truth)]))
        elif way < 0.90:
            text = _mutate_json(rng, rng.choice([rle, runs]))
            yield Shot("mask rle", "/evaluate", *_form([("pred", text), ("truth", truth)]))
        else:
            fields = [("image", seeds["png"]), ("truth", truth)][: rng.randint(1, 2)]
            declared, body = _form(fields)
            body = mutate(rng, body, other=body, most=200 if rng.random() < 0.7 else None)
            yield Shot("multipart", rng.choice(["/segment", "/evaluate"]), declared, body)


def mutate(rng: random.Random, data: bytes, *, other: bytes, most: int | None = None) -> bytes:
    """Some random changes of a file.

    Args:
        rng: Where chance comes from.
        data: The file.
        other: Another one, parts of which may be spliced in.
        most: Changes stay within so many bytes from the start; None for anywhere.
    """
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if out:
            change = rng.choice(_CHANGES)
            change(rng, out, min(len(out), most or len(out)), other)
    # Else few changes of a PNG would get past its checksums.
    return _with_checksums(bytes(out)) if rng.random() < 0.7 else bytes(out)


def _flip(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    out[rng.randrange(end)] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    width, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
    value = rng.choice(_NUMBERS) % 256**width
    at = rng.randrange(end)
    out[at : at + width] = value.to_bytes(width, order)


def _cut(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    del out[rng.randrange(end) :]


def _remove(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    at = rng.randrange(end)
    del out[at : at + rng.choice((1, 2, 4, 16, 256))]


def _repeat(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    at, length = rng.randrange(end), rng.choice((1, 4, 16, 256))
    out[at:at] = out[at : at + length] * rng.choice((1, 2, 50))


def _noise(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    at = rng.randrange(end)
    out[at : at + 16] = rng.randbytes(rng.randrange(32))


def _splice(rng: random.Random, out: bytearray, end: int, other: bytes) -> None:
    out[rng.randrange(end) :] = other[rng.randrange(len(other)) :]


_CHANGES: tuple[Callable[[random.Random, bytearray, int, bytes], None], ...] = (
    _flip, _flip, _number, _number, _number, _cut, _remove, _repeat, _noise, _splice,
)  # fmt: skip


def _with_checksums(data: bytes) -> bytes:
    """A PNG with the checksums that its chunks now need; anything else as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    out, at = bytearray(data), 8
    while at + 12 <= len(out):
        end = at + 8 + int.from_bytes(out[at : at + 4], "big")
        if end + 4 > len(out):
            break
        out[end : end + 4] = zlib.crc32(out[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(out)


def _mutate_json(rng: random.Random, rle: dict[str, Any]) -> bytes:
    odd: tuple[object, ...] = (
        None, True, -1, 0, 1.5, 1e308, 2**63, 10**400, "", "a" * 50, "\ud800", [], [[]], {},
        [1, -1],
    )  # fmt: skip
    changed = json.loads(json.dumps(rle))
    way = rng.randrange(6)
    if way == 0:
        changed[rng.choice(["size", "counts", "segmentation"])] = rng.choice(odd)
    elif way == 1:
        changed["size"][rng.randrange(2)] = rng.choice([*odd, *_NUMBERS])
    elif way == 2 and isinstance(changed["counts"], list):
        changed["counts"][rng.randrange(3)] = rng.choice([*odd, *_NUMBERS])
    elif way == 3:
        changed["counts"] = [rng.choice(_NUMBERS) for _ in range(rng.randrange(50))]
    elif way == 4 and isinstance(changed["counts"], str):
        counts = bytearray(changed["counts"].encode())
        counts[rng.randrange(len(counts))] = rng.randrange(32, 127)
        changed["counts"] = counts.decode()
    text = json.dumps(changed).encode()
    return mutate(rng, text, other=text) if way == 5 else text


def _query(rng: random.Random) -> str:
    form = rng.choice(("png", "png1", "rle", "polygon", "overlay", "probability"))
    return f"/segment?format={form}"


def _form(fields: list[tuple[str, bytes]]) -> tuple[str, bytes]:
    body = b"".join(
        b"--%s\r\nContent-Disposition: form-data; name=%s; filename=f\r\n\r\n%s\r\n"
        % (_BOUNDARY, name.encode(), data)
        for name, data in fields
    )
    return f"multipart/form-data; boundary={_BOUNDARY.decode()}", body + b"--%s--\r\n" % _BOUNDARY


@dataclass
class Outcome:
    """What came of the requests.

    Attributes:
        statuses: How many by kind and status.
        bad: Those that were not answered as they should, and how.
    """

    statuses: Counter[tuple[str, int]]
    bad: list[tuple[Shot, str]]


def fire(url: str, fuzz: Iterator[Shot], *, connections: int = 2) -> Outcome:
    """Send requests to a service of this machine, a few at a time."""
    outcome = Outcome(Counter(), [])

    def send(shot: Shot) -> None:
        try:
            response = client.post(
                shot.target, content=shot.body, headers={"Content-Type": shot.content_type}
            )
        except httpx2.TransportError as exc:
            outcome.bad.append((shot, repr(exc)))
            return
        status = response.status_code
        outcome.statuses[shot.kind, status] += 1
        problem = response.headers["content-type"] == "application/problem+json"
        if (status >= 500 and status not in DELIBERATE) or problem != (status >= 400):
            outcome.bad.append((shot, f"{status} {response.text[:200]}"))

    with (
        httpx2.Client(base_url=url, timeout=60) as client,
        ThreadPoolExecutor(connections) as pool,
    ):
        for _ in pool.map(send, fuzz):
            pass
    return outcome


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--save", type=Path, help="folder for requests that are answered badly")
    options = parser.parse_args()
    outcome = fire(options.url, shots(options.seed, options.count))
    by_status: Counter[int] = Counter()
    for (_, status), number in outcome.statuses.items():
        by_status[status] += number
    print(f"{options.count} requests:", dict(sorted(by_status.items())))
    for number, (shot, why) in enumerate(outcome.bad):
        print(f"{shot.kind} to {shot.target}: {why}")
        if options.save:
            options.save.mkdir(parents=True, exist_ok=True)
            (options.save / f"{number:04}").write_bytes(shot.body)
    return 1 if outcome.bad else 0


if __name__ == "__main__":
    sys.exit(main())
