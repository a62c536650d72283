"""Where the time of a request goes, stage by stage, in one thread: `python -m benchmarks.stages`.

Each stage is the service's own code, called as the service calls it, on the same photographs.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.requests import Request

from benchmarks.bodies import MULTIPART, multipart, photographs
from benchmarks.engines import open_version
from benchmarks.latency import percentile
from model_core.errors import SegmentationError
from model_core.images.decode import decode_image
from model_core.masks.png import encode_mask
from model_core.masks.rle import encode_rle
from model_core.predictor import Prepared
from model_core.processing.postprocess import logit, tidy
from model_core.processing.preprocess import fit_image
from model_core.registry.registry import LoadedVersion
from service.answers.formats import encode_answer
from service.answers.segmented import Segmented
from service.api.uploads import read_image
from service.contract.queries import SegmentQuery


@dataclass(frozen=True)
class Stage:
    """One line of the table.

    Attributes:
        name: What is done.
        run: Does it once.
        within: Whether it is on the way from a form to an 8-bit PNG; else it is an alternative, or
            a part of another stage.
        note: Which.
    """

    name: str
    run: Callable[[], object]
    within: bool = True
    note: str = ""


def stages(version: LoadedVersion, photograph: bytes) -> list[Stage]:
    """The stages of one photograph, each with what the one before gave."""
    predictor = version.predictor
    config, rules = predictor.preprocess_config, predictor.postprocess_config
    body, need, cut = multipart(photograph), (config.size, config.size), logit(rules.threshold)
    decoded = decode_image(photograph, at_least=need)
    pixels, geometry = fit_image(decoded, config)
    batch = pixels[None]
    logits = predictor.infer(batch)[0]
    shown = logits[geometry.inside]
    tidied = tidy(shown, rules)
    mask = geometry.restore_mask(tidied, cut)
    answer = Segmented(version, photograph, SegmentQuery(), Prepared(pixels, geometry), logits)
    return [
        Stage("multipart", lambda: _read(body)),
        Stage("decode", lambda: decode_image(photograph, at_least=need)),
        Stage("resize", lambda: fit_image(decoded, config)),
        Stage("network", lambda: predictor.infer(batch)),
        Stage("components", lambda: tidy(shown, rules)),
        Stage("upsample + threshold", lambda: geometry.restore_mask(tidied, cut)),
        Stage("PNG, 8 bit", lambda: encode_mask(mask)),
        Stage("PNG, 1 bit", lambda: encode_mask(mask, bits=1), False, "in its place"),
        Stage("RLE", lambda: encode_rle(mask), False, "part of the JSON"),
        Stage("JSON", lambda: encode_answer(answer, "rle"), False, "in the PNG's place"),
    ]  # fmt: skip


def measure(
    version: LoadedVersion, bodies: Sequence[bytes], repeats: int
) -> list[tuple[Stage, float]]:
    """Each stage with the median of its time, s, over all repeats of all photographs."""
    seen: dict[str, list[float]] = {}
    last: list[Stage] = []
    for body in bodies:
        last = stages(version, body)
        for stage in last:
            stage.run()
            for _ in range(repeats):
                started = time.perf_counter()
                stage.run()
                seen.setdefault(stage.name, []).append(time.perf_counter() - started)
    return [(stage, percentile(seen[stage.name], 50)) for stage in last]


def table(measured: Sequence[tuple[Stage, float]]) -> str:
    """As printed: p50 and share of the way from a form to an 8-bit PNG."""
    total = sum(seconds for stage, seconds in measured if stage.within)
    lines = [f"{'stage':<22}{'p50 ms':>9}{'share':>8}"]
    for stage, seconds in measured:
        share = f"{seconds / total:.1%}" if stage.within else "-"
        lines.append(f"{stage.name:<22}{1000 * seconds:>9.3f}{share:>8}  {stage.note}".rstrip())
    lines.append(f"{'form to 8-bit PNG':<22}{1000 * total:>9.3f}{'100%':>8}")
    return "\n".join(lines)


def _read(body: bytes) -> bytes:
    """A photograph out of a form, as the route reads it."""
    headers = [(b"content-type", MULTIPART.encode()), (b"content-length", b"%d" % len(body))]

    async def receive() -> Any:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "method": "POST", "headers": headers}, receive)
    reading = read_image(request)
    try:  # It never has to wait here, and an event loop's start would be measured with it.
        reading.send(None)
    except StopIteration as done:
        return bytes(done.value)
    raise RuntimeError("the body did not come at once")


def main() -> int:
    """Print the table.

    Returns:
        0; 2 where there is nothing to measure.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.stages")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--engine", default="auto", help="as LESION_BACKEND")
    parser.add_argument("--repeats", type=int, default=30, help="of each photograph")
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; drawn ones without it")
    arguments = parser.parse_args()
    try:
        bodies = photographs(arguments.photographs)
        version = open_version(arguments.registry, arguments.name, "production", arguments.engine)
    except SegmentationError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(f"{version.label} on {version.predictor.backend.name}, one thread at a time")
    print(table(measure(version, bodies, arguments.repeats)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
