"""Dark discs on pale skin: photographs and masks small enough to train on within a test."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image

COLUMNS = [
    "dataset",
    "id",
    "image",
    "mask",
    "geometry",
    "orig_width",
    "orig_height",
    "near_dup_group",
    "split",
]


def write_pair(folder: Path, name: str, *, seed: int, size: tuple[int, int] = (48, 64)) -> None:
    """A noisy photograph of one dark disc, `<name>.png`, and its mask, `<name>_mask.png`."""
    rng = np.random.default_rng(seed)
    height, width = size
    rows, columns = np.ogrid[:height, :width]
    centre = rng.uniform(0.35, 0.65, 2) * size
    mask = np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(0.2, 0.35) * height
    skin = np.where(mask[..., None], (90, 50, 40), (220, 170, 150))
    noisy = np.clip(skin + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)
    Image.fromarray(noisy).save(folder / f"{name}.png")
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")


def write_manifest(folder: Path, rows: list[dict[str, str]]) -> None:
    with (folder / "MANIFEST.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)


def row(name: str, **more: str) -> dict[str, str]:
    return {
        "dataset": "discs",
        "id": name,
        "image": f"{name}.png",
        "mask": f"{name}_mask.png",
    } | more
