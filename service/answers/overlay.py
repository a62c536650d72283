"""Draw where a prediction is right and wrong over its image.

| pixels | colour | sRGB |
| --- | --- | --- |
| true positive: lesion in both | blue | 0, 114, 178 |
| false positive: lesion in the prediction alone | orange | 230, 159, 0 |
| false negative: lesion in the truth alone | purple | 204, 121, 167 |

The colours are of Okabe and Ito's palette (2008), told apart with any kind of colour blindness.
"""

import numpy as np

from model_core.arrays import Image, Mask

TRUE_POSITIVE = (0, 114, 178)
FALSE_POSITIVE = (230, 159, 0)
FALSE_NEGATIVE = (204, 121, 167)
GREY = 128
"""Value of the canvas where there is no image."""


def draw_overlay(truth: Mask, pred: Mask, image: Image | None = None) -> Image:
    """Colour the right and wrong pixels of an image, blended half and half.

    Args:
        truth: Reference mask, bool (H, W), True = lesion.
        pred: Predicted mask, same H and W.
        image: uint8 (H, W, 3), RGB; grey where there is none.

    Example:
        >>> draw_overlay(np.array([[True, False]]), np.array([[True, True]])).tolist()
        [[[64, 121, 153], [179, 143, 64]]]
    """
    grey = np.full((*truth.shape, 3), GREY, np.uint8)
    picture = grey if image is None else image.copy()
    for region, colour in (
        (truth & pred, TRUE_POSITIVE),
        (pred & ~truth, FALSE_POSITIVE),
        (truth & ~pred, FALSE_NEGATIVE),
    ):
        picture[region] = (picture[region].astype(np.uint16) + np.array(colour, np.uint16)) // 2
    return picture
