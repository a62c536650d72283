"""Predicts photographs with the shipped version in a process that another processor runs.

    python -m tests.model_core.predict_elsewhere ENGINE PHOTOGRAPH ...

prints one line of JSON, the run lengths of each mask; loading has compared the golden masks.
"""

import json
import sys
from pathlib import Path

from model_core.backends.protocol import Choice
from model_core.registry import PRODUCTION, Registry
from model_core.rle import encode_rle
from tests.conftest import REPOSITORY


def main(engine: Choice, *photographs: str) -> None:
    registry = Registry(REPOSITORY / "models")
    version = registry.resolve("lesion-unet", PRODUCTION)
    loaded = registry.load("lesion-unet", version, device="cpu", backend=engine)
    masks = [loaded.predictor.predict(Path(each).read_bytes()).mask for each in photographs]
    print(json.dumps([encode_rle(mask) for mask in masks]))


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]  # the registry refuses what is no engine
