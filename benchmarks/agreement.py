"""How far each engine's masks agree with float32 PyTorch's: `python -m benchmarks.agreement`.

    python -m benchmarks.agreement --photographs ../shared/data --limit 400

A version's card has the same of the precisions that `trainer export` admitted, on its validation
images; this is every engine that runs here, on any folder of photographs. No expert mask is needed.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from benchmarks.bodies import photographs
from benchmarks.latency import percentile
from model_core.backends.protocol import Device, Engine
from model_core.errors import ConfigError, SegmentationError
from model_core.predictor import Predictor
from model_core.registry.registry import PRODUCTION, Registry
from model_core.scores.metrics import jaccard

REFERENCE: Engine = "pytorch-fp32"
ENGINES: tuple[Engine, ...] = get_args(Engine)
MEDIAN, FIRST_PERCENTILE = 0.99, 0.97
"""What an engine has to reach."""


@dataclass(frozen=True)
class Agreement:
    """Jaccard between an engine's masks and the reference's, over photographs.

    Attributes:
        engine: Its name.
        values: One a photograph, in their order; two empty masks agree.
    """

    engine: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return percentile(self.values, 50)

    @property
    def first_percentile(self) -> float:
        """Take the first percentile; of less than 100 photographs, the least."""
        return percentile(self.values, 1)

    @property
    def sufficient(self) -> bool:
        """Whether it reaches what it has to."""
        return self.median >= MEDIAN and self.first_percentile >= FIRST_PERCENTILE


def opened(
    registry: Registry,
    name: str,
    version: str,
    engines: Sequence[Engine] = ENGINES,
    *,
    device: Device = "cpu",
) -> tuple[dict[str, Predictor], list[str]]:
    """A version on the engines that run it here, the reference first, and why others do not.

    Args:
        registry: Of the version.
        name: Model.
        version: Its version.
        engines: Which.
        device: Theirs; the reference always runs on the CPU.
    """
    reference = registry.load(name, version, device="cpu", backend=REFERENCE).predictor
    found = {reference.backend.name: reference}
    missing = []
    for engine in engines:
        if engine == REFERENCE and device == "cpu":
            continue
        try:
            loaded = registry.load(name, version, device=device, backend=engine)
        except ConfigError as exc:
            missing.append(f"{engine}: {exc}")
        else:
            found[loaded.predictor.backend.name] = loaded.predictor
    return found, missing


def compare(predictors: Mapping[str, Predictor], images: Iterable[bytes]) -> list[Agreement]:
    """Every engine against the first.

    Args:
        predictors: By engine.
        images: Photographs' bytes.
    """
    values: dict[str, list[float]] = {engine: [] for engine in predictors}
    reference = next(iter(predictors))
    for image in images:
        prepared = predictors[reference].prepare(image)
        masks = {
            engine: each.finish(each.infer(prepared.pixels[None])[0], prepared.geometry).mask
            for engine, each in predictors.items()
        }
        for engine, mask in masks.items():
            values[engine].append(jaccard(masks[reference], mask))
    return [Agreement(engine, tuple(each)) for engine, each in values.items()]


def table(found: Iterable[Agreement]) -> str:
    """As printed."""
    lines = [f"{'engine':<20}{'n':>6}{'median':>9}{'1st perc.':>11}{'least':>9}"]
    lines += [
        f"{each.engine:<20}{len(each.values):>6}{each.median:>9.4f}"
        f"{each.first_percentile:>11.4f}{min(each.values):>9.4f}"
        for each in found
    ]
    return "\n".join(lines)


def main() -> int:
    """Print the table.

    Returns:
        0; 1 where an engine agrees too little, 2 where there is nothing to compare.
    """
    parser = argparse.ArgumentParser(prog="benchmarks.agreement")
    parser.add_argument("--registry", type=Path, default=Path("models"))
    parser.add_argument("--name", default="lesion-unet")
    parser.add_argument("--version", default=PRODUCTION, help="version or alias")
    parser.add_argument("--photographs", type=Path, help="folder of JPEGs; drawn ones without it")
    parser.add_argument("--limit", type=int, default=400, help="photographs, evenly spread (400)")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES)
    parser.add_argument("--device", choices=get_args(Device), default="cpu", help="(cpu)")
    parser.add_argument("--out", type=Path, help="JSON of the table")
    arguments = parser.parse_args()
    try:
        images = photographs(arguments.photographs, limit=arguments.limit)
        registry = Registry(arguments.registry)
        version = registry.resolve(arguments.name, arguments.version)
        predictors, missing = opened(
            registry, arguments.name, version, arguments.engines, device=arguments.device
        )
        found = compare(predictors, images)
    except SegmentationError as exc:
        print(f"benchmarks: {exc}", file=sys.stderr)
        return 2
    print(f"{arguments.name}@{version}, masks against {REFERENCE}'s")
    print("\n".join([table(found), *missing]))
    if arguments.out:
        rows = [
            {"engine": each.engine, "n": len(each.values), "median": each.median,
             "first_percentile": each.first_percentile, "least": min(each.values)}
            for each in found
        ]  # fmt: skip
        arguments.out.write_text(json.dumps({"rows": rows, "missing": missing}) + "\n")
    return 0 if all(each.sufficient for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())
