"""Draw the outline of a mask over its image, to be seen on any skin by any eye."""

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

from model_core.arrays import Image, Mask
from model_core.masks.polygons import polygons_of

LINE = (86, 180, 233)
"""Sky blue of Okabe and Ito's palette (2008): no skin has it, and no colour blindness hides it."""
RIM = (0, 0, 0)
"""On both sides of the line, so that its brightness alone shows it too."""
_SHARE = 1 / 200
"""Width of the line as a share of the longest side."""
_SMOOTH_PX = 0.75
"""Enough to lose the pixels' steps."""


def draw_outline(image: Image, mask: Mask) -> Image:
    """Draw the edge of a mask into a copy of its image: a light line between two dark rims.

    The line is 1/200 of the longest side wide, at least 2 px, each rim half of that.
    """
    picture = Pillow.fromarray(image)
    pen = ImageDraw.Draw(picture)
    width = max(2, round(max(mask.shape) * _SHARE))
    polygons = polygons_of(mask, _SMOOTH_PX)
    rings = [ring for part in polygons.geoms for ring in (part.exterior, *part.interiors)]
    # Corners lie between pixels, and Pillow counts from the middle of the first one. The second
    # point comes again at the end, so that the last corner is joined as the others are.
    lines = [np.asarray([*ring.coords, ring.coords[1]]) - 0.5 for ring in rings]
    for colour, wide in ((RIM, width + 2 * (width // 2)), (LINE, width)):
        for line in lines:
            pen.line([(x, y) for x, y in line.tolist()], fill=colour, width=wide, joint="curve")
    return np.asarray(picture)
