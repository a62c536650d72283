"""Draws docs/lesion.png, the picture of the README: a drawn lesion and the mask found in it.

    python docs/draw_picture.py

The lesion is drawn, not photographed; the mask is the production version's own answer.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from model_core.registry import Registry
from trainer.drawn import draw_lesion

SEED = 7
OUTLINE = (0, 255, 255)  # cyan: far from every skin and lesion colour
REPOSITORY = Path(__file__).parent.parent


def main() -> None:
    registry = Registry(REPOSITORY / "models")
    version = registry.load("lesion-unet", registry.resolve("lesion-unet", "production"))
    photograph, _ = draw_lesion(SEED)
    data = io.BytesIO()
    Image.fromarray(photograph).save(data, format="PNG")
    mask = version.predictor.predict(data.getvalue()).mask
    outlined = photograph.copy()
    outlined[mask ^ ndimage.binary_erosion(mask, iterations=3)] = OUTLINE
    panels = [photograph, np.repeat(mask[..., None].astype(np.uint8) * 255, 3, axis=2), outlined]
    gap = np.full((photograph.shape[0], 8, 3), 255, np.uint8)
    picture = np.hstack([panels[0], gap, panels[1], gap, panels[2]])
    Image.fromarray(picture).resize((picture.shape[1] // 2, picture.shape[0] // 2)).save(
        REPOSITORY / "docs" / "lesion.png", optimize=True
    )


if __name__ == "__main__":
    main()
