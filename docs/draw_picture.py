"""Draws the pictures of the README: a lesion, its exact mask, and what the service finds in it.

    python docs/draw_picture.py

writes docs/example.png and docs/example_truth.png (drawn, not photographed: free for anybody to try
the API with), docs/lesion.png (lesion, the production version's own mask, its outline) and
docs/margins.png (its outlines with a tight, a middle and a loose margin).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from model_core.masks.png import encode_mask
from model_core.processing.postprocess import Margin
from model_core.registry.registry import PRODUCTION, Registry
from trainer.data.drawn import draw_lesion

SEED = 3
OUTLINE = (0, 255, 255)  # cyan: far from every colour of skin and lesion
DOCS = Path(__file__).parent


def main() -> None:
    photograph, truth = draw_lesion(SEED)
    data = io.BytesIO()
    Image.fromarray(photograph).save(data, format="PNG", optimize=True)
    (DOCS / "example.png").write_bytes(data.getvalue())
    (DOCS / "example_truth.png").write_bytes(encode_mask(truth))

    registry = Registry(DOCS.parent / "models")
    version = registry.load("lesion-unet", registry.resolve("lesion-unet", PRODUCTION))
    predictor = version.predictor
    mask = predictor.predict(data.getvalue()).mask
    grey = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    save_row([photograph, grey, outlined(photograph, mask)], DOCS / "lesion.png")

    faint, _ = draw_lesion(SEED, contrast=0.35)
    data = io.BytesIO()
    Image.fromarray(faint).save(data, format="PNG")
    margins: tuple[Margin, ...] = ("tight", "middle", "loose")
    cuts = [predictor.postprocess_config.threshold_for(margin) for margin in margins]
    masks = [predictor.predict(data.getvalue(), threshold=cut).mask for cut in cuts]
    save_row([outlined(faint, mask) for mask in masks], DOCS / "margins.png")


def outlined(photograph: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Draw the inner edge of a mask into a copy of the photograph."""
    drawn = photograph.copy()
    drawn[mask & ~ndimage.binary_erosion(mask, iterations=3)] = OUTLINE
    return drawn


def save_row(pictures: list[np.ndarray], path: Path) -> None:
    """Save pictures of one size beside each other, at half their size."""
    white = np.full((pictures[0].shape[0], 12, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (white, picture)][1:]
    row = Image.fromarray(np.hstack(parts))
    row.resize((row.width // 2, row.height // 2)).save(path, optimize=True)


if __name__ == "__main__":
    main()
