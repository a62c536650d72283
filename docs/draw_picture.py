"""Draws the pictures of the README: a lesion, its exact mask, and what the service finds in it.

    python docs/draw_picture.py

writes docs/example.png and docs/example_truth.png (drawn, not photographed: free for anybody to try
the API with) and docs/lesion.png (lesion, the production version's own mask, its outline).
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from model_core.masks.png import encode_mask
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
    mask = version.predictor.predict(data.getvalue()).mask
    outlined = photograph.copy()
    outlined[mask & ~ndimage.binary_erosion(mask, iterations=3)] = OUTLINE
    white = np.full((photograph.shape[0], 12, 3), 255, np.uint8)
    grey = np.repeat(mask[..., None] * np.uint8(255), 3, axis=2)
    row = Image.fromarray(np.hstack([photograph, white, grey, white, outlined]))
    row.resize((row.width // 2, row.height // 2)).save(DOCS / "lesion.png", optimize=True)


if __name__ == "__main__":
    main()
