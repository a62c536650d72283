"""Augmentation of whole training batches by kornia, on the training device."""

import kornia.augmentation as kornia
import torch
from torch import Tensor

from trainer.config import AugmentConfig


class Augment:
    """Random geometry for image and mask alike, random colour for the image alone.

    All randomness comes from torch's global generator, so that a seed or a checkpoint repeats it.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._geometry = _geometry(config)
        self._colour = _colour(config)
        self._occlude = config.occlude

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """One augmented batch.

        Args:
            images: float32 (N, 3, S, S), 0 to 1.
            masks: float32 (N, 1, S, S), 0 or 1.

        Returns:
            The same shapes and ranges.
        """
        if self._geometry is not None:
            both = self._geometry(torch.cat([images, masks], dim=1))
            images, masks = both[:, :3], (both[:, 3:] > 0.5).float()
        if self._colour is not None:
            images = self._colour(images)
        if self._occlude:
            images = _vignette(images, self._occlude)
        return images.clamp(0, 1), masks


def _geometry(config: AugmentConfig) -> torch.nn.Sequential | None:
    # Image and mask travel as four channels of one tensor: one bilinear resampling moves both.
    steps: list[torch.nn.Module] = []
    if config.hflip:
        steps.append(kornia.RandomHorizontalFlip(p=config.hflip))
    if config.vflip:
        steps.append(kornia.RandomVerticalFlip(p=config.vflip))
    if config.rotate_deg or config.translate or config.shear_deg or config.scale != (1.0, 1.0):
        steps.append(
            kornia.RandomAffine(
                degrees=config.rotate_deg,
                translate=(config.translate, config.translate) if config.translate else None,
                scale=config.scale,
                shear=config.shear_deg or None,
                # Mirrored skin goes on beyond the frame; black corners would look like a vignette.
                padding_mode="reflection",
                p=1.0,
            )
        )
    return torch.nn.Sequential(*steps) if steps else None


def _colour(config: AugmentConfig) -> torch.nn.Sequential | None:
    steps: list[torch.nn.Module] = []
    if config.brightness or config.contrast or config.saturation or config.hue:
        steps.append(
            kornia.ColorJiggle(
                brightness=config.brightness,
                contrast=config.contrast,
                saturation=config.saturation,
                hue=config.hue,
                p=0.8,
            )
        )
    if config.gamma:
        steps.append(kornia.RandomGamma((1 - config.gamma, 1 + config.gamma), p=0.5))
    if config.blur:
        steps.append(kornia.RandomGaussianBlur((5, 5), (0.3, 1.5), p=config.blur))
    if config.noise:
        steps.append(kornia.RandomGaussianNoise(std=0.03, p=config.noise))
    return torch.nn.Sequential(*steps) if steps else None


def _vignette(images: Tensor, probability: float) -> Tensor:
    """Darken everything outside a random soft circle in some of the images."""
    count, size, device = len(images), images.shape[-1], images.device
    chosen = torch.rand(count, 1, 1, device=device) < probability
    centre = 0.5 + 0.1 * (torch.rand(count, 2, 1, 1, device=device) - 0.5)
    radius = 0.42 + 0.3 * torch.rand(count, 1, 1, device=device)
    softness = 0.005 + 0.03 * torch.rand(count, 1, 1, device=device)
    place = torch.linspace(0, 1, size, device=device)
    away = torch.hypot(place[None, :, None] - centre[:, 0], place[None, None, :] - centre[:, 1])
    light = torch.sigmoid((radius - away) / softness)
    return images * torch.where(chosen, light, 1.0)[:, None]
