"""Name the array shapes and units that every module shares."""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), RGB, 0-255, upright (EXIF orientation already applied)."""

Batch: TypeAlias = npt.NDArray[np.uint8]
"""uint8 (N, S, S, 3), RGB, 0-255: preprocessed images, not yet normalised."""

Logits: TypeAlias = npt.NDArray[np.float32]
"""float32 (S, S), any real, or a stack of them (N, S, S); sigmoid gives probability."""

Mask: TypeAlias = npt.NDArray[np.bool_]
"""bool (H, W), True = lesion, in the frame of the upright original image."""

Spacing: TypeAlias = tuple[float, float]
"""Height and width of a pixel, in the unit that distances shall have."""

PIXELS: Spacing = (1.0, 1.0)
"""The spacing that measures in pixels."""
