"""What the data has too little of, made from what it has: faint lesions, and skin without one.

Both are answers to what fails: docs/evaluation.md, "Where it fails", and docs/robustness.md.
"""

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import AugmentConfig

_GRID = 16
"""Cells a side in which skin without lesion is looked for."""
_SIDES = (8, 5)
"""Sides of a piece of skin, in cells: the first that fits is taken, and enlarged."""
_FADE = (0.3, 0.8)
"""Shares of the difference from skin that a faded lesion loses."""
_EDGE = 0.02
"""How far a fade's border reaches, as a share of the side."""


class RareCases:
    """Changes some of the images of a batch; all randomness from torch's global generator."""

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Fade some lesions of a batch, and replace some images by skin without one.

        Args:
            images: float32 (N, 3, S, S), 0 to 1.
            masks: float32 (N, 1 or 2, S, S), as `Augment` takes them.

        Returns:
            The same shapes and ranges.
        """
        count = len(images)
        if self._config.fade:
            chosen = torch.rand(count, 1, 1, 1, device=images.device) < self._config.fade
            images = torch.where(chosen, _faded(images, masks[:, :1]), images)
        if self._config.bare:
            images, masks = images.clone(), masks.clone()
            for place in torch.nonzero(torch.rand(count) < self._config.bare).flatten().tolist():
                skin = _bare_skin(images[place], masks[place, :1])
                if skin is not None:
                    images[place], masks[place] = skin, 0
        return images, masks


def _faded(images: Tensor, masks: Tensor) -> Tensor:
    """Fade lesions towards the mean colour around them; the outline stays where it was."""
    smallest, largest = _FADE
    amount = smallest + (largest - smallest) * torch.rand(
        len(images), 1, 1, 1, device=images.device
    )
    reach = 2 * max(1, round(_EDGE * images.shape[-1])) + 1
    soft = functional.avg_pool2d(
        masks, reach, stride=1, padding=reach // 2, count_include_pad=False
    )
    outside = 1 - masks
    area = outside.sum(dim=(2, 3), keepdim=True)
    skin = (images * outside).sum(dim=(2, 3), keepdim=True) / area.clamp_min(1)
    # A lesion that fills the frame shows no skin to fade into.
    return images + (area > 0) * amount * soft * (skin - images)


def _bare_skin(image: Tensor, mask: Tensor) -> Tensor | None:
    """Cut a random piece without lesion, enlarged to the frame; None where there is none."""
    side = image.shape[-1]
    lesion = functional.adaptive_max_pool2d(mask[None], _GRID)
    for cells in _SIDES:
        free = torch.nonzero(functional.max_pool2d(lesion, cells, stride=1)[0, 0] == 0)
        if len(free):
            row, column = free[int(torch.randint(len(free), ()))].tolist()
            top, left, length = (n * side // _GRID for n in (row, column, cells))
            piece = image[None, :, top : top + length, left : left + length]
            return functional.interpolate(
                piece, [side, side], mode="bilinear", align_corners=False
            )[0]
    return None
