"""Augmentation of whole training batches, on the training device.

Written out here, not taken from a library, since it is half of the training recipe and would be a
fifth of its time: one resampling for all geometry, one matrix for all colour.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional

from trainer.config import AugmentConfig
from trainer.training.artefacts import Artefacts
from trainer.training.rare_cases import RareCases

_LUMA = (0.299, 0.587, 0.114)
"""Weights of R, G and B in grey, as in ITU-R BT.601."""
_BLUR_PX = 5
_NOISE_STD = 0.03


class Augment:
    """Random geometry for image and mask alike, random colour and artefacts for the image.

    All randomness comes from torch's global generator, so that a seed or a checkpoint repeats it.
    """

    def __init__(self, config: AugmentConfig) -> None:
        self._config = config
        self._rare_cases = RareCases(config)
        self._artefacts = Artefacts(config)
        self._moves = any(
            (config.hflip, config.vflip, config.rotate_deg, config.translate, config.shear_deg,
             config.elastic, config.aspect != 1.0, config.scale != (1.0, 1.0))
        )  # fmt: skip
        self._colours = any(
            (config.brightness, config.contrast, config.saturation, config.hue, config.tint,
             config.grey)
        )  # fmt: skip

    def __call__(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: float32 (N, 3, S, S), 0 to 1.
            masks: float32 (N, 1 or 2, S, S): 0 or 1, and the teachers' probability where there is
                one.

        Returns:
            The same shapes and ranges.
        """
        config = self._config
        if self._moves:
            images, masks = _move(images, masks, config)
        images, masks = self._rare_cases(images, masks)
        if self._colours:
            images = _recolour(images, config)
        images = images.clamp(0, 1)
        if config.gamma:
            exponents = 1 + config.gamma * _symmetric(len(images), images.device)
            images = images ** exponents[:, None, None, None]
        images, masks = self._artefacts(images, masks)
        if config.coarse:
            images = _coarsen(images, config.coarse)
        if config.blur:
            images = _blur(images, config.blur)
        if config.noise:
            noisy = _chosen(len(images), config.noise, images.device)
            images = images + noisy * _NOISE_STD * torch.randn_like(images)
        return images.clamp(0, 1), masks


def _move(images: Tensor, masks: Tensor, config: AugmentConfig) -> tuple[Tensor, Tensor]:
    # Image and masks travel as channels of one tensor: one bilinear resampling moves all.
    both = torch.cat([images, masks], dim=1)
    grid = functional.affine_grid(_affine(images, config), list(both.shape), align_corners=False)
    if config.elastic:
        # Smooth displacements: what is drawn at 4 x 4 places, interpolated. The grid's unit is half
        # a side.
        bends = 2 * config.elastic * torch.randn(len(images), 2, 4, 4, device=images.device)
        size = list(images.shape[-2:])
        smooth = functional.interpolate(bends, size, mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    # Mirrored skin goes on beyond the frame; black corners would look like a vignette.
    both = functional.grid_sample(both, grid, padding_mode="reflection", align_corners=False)
    drawn = (both[:, 3:4] > 0.5).to(masks.dtype)
    return both[:, :3], torch.cat([drawn, both[:, 4:]], dim=1)


def _affine(images: Tensor, config: AugmentConfig) -> Tensor:
    """Compute where in the photograph each augmented pixel comes from: (N, 2, 3)."""
    count, device = len(images), images.device
    turn = math.radians(config.rotate_deg) * _symmetric(count, device)
    zeros, ones = torch.zeros_like(turn), torch.ones_like(turn)
    rotation = _matrices(turn.cos(), -turn.sin(), turn.sin(), turn.cos())
    slant = torch.tan(math.radians(config.shear_deg) * _symmetric(count, device))
    shear = _matrices(ones, slant, zeros, ones)
    smallest, largest = (math.log(zoom) for zoom in config.scale)
    zoom = (smallest + (largest - smallest) * torch.rand(count, device=device)).exp()
    stretch = (math.log(config.aspect) / 2 * _symmetric(count, device)).exp()
    scale = _matrices(1 / (zoom * stretch), zeros, zeros, stretch / zoom)
    left_right = 1 - 2 * (torch.rand(count, device=device) < config.hflip).float()
    up_down = 1 - 2 * (torch.rand(count, device=device) < config.vflip).float()
    mirror = _matrices(left_right, zeros, zeros, up_down)
    shift = 2 * config.translate * (2 * torch.rand(count, 2, 1, device=device) - 1)
    return torch.cat([mirror @ rotation @ shear @ scale, shift], dim=2)


def _recolour(images: Tensor, config: AugmentConfig) -> Tensor:
    """Change brightness, contrast, saturation, hue and tint: linear all, so by one matrix."""
    count, device = len(images), images.device
    luma = torch.tensor(_LUMA, device=device)
    bright = 1 + config.brightness * _symmetric(count, device)
    contrast = 1 + config.contrast * _symmetric(count, device)
    saturation = 1 + config.saturation * _symmetric(count, device)
    if config.grey:
        saturation = saturation * (torch.rand(count, device=device) >= config.grey)
    colour = saturation[:, None, None] * _hue_turns(config.hue * _symmetric(count, device))
    grey = (1 - saturation)[:, None, None] * luma.expand(3, 3)
    gains = 1 + config.tint * (2 * torch.rand(count, 3, 1, device=device) - 1)
    matrices = (bright * contrast)[:, None, None] * (gains * (colour + grey))
    # Contrast turns about the mean grey of the photograph.
    mean = (images.mean(dim=(2, 3)) @ luma) * bright * (1 - contrast)
    flat = torch.baddbmm(mean[:, None, None], matrices, images.flatten(2))
    return flat.view_as(images)


def _hue_turns(turns: Tensor) -> Tensor:
    """Rotate RGB about its grey axis, by shares of the full circle (N,): (N, 3, 3).

    Source: Rodrigues' formula for the axis (1, 1, 1) / sqrt(3).
    """
    angle = (2 * math.pi * turns)[:, None, None]
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=turns.device) / math.sqrt(3)
    third = torch.full((3, 3), 1 / 3, device=turns.device)
    eye = torch.eye(3, device=turns.device)
    return angle.cos() * eye + angle.sin() * cross + (1 - angle.cos()) * third


def _coarsen(images: Tensor, probability: float) -> Tensor:
    """Reduce some images as if they had been saved at a quarter to half of their size."""
    share = 0.25 + 0.25 * float(torch.rand(()))
    small = functional.interpolate(images, scale_factor=share, mode="bilinear", antialias=True)
    back = functional.interpolate(small, list(images.shape[-2:]), mode="bilinear")
    chosen = _chosen(len(images), probability, images.device)
    return torch.where(chosen, back, images)


def _blur(images: Tensor, probability: float) -> Tensor:
    """Blur some images with Gaussians of 0.3 to 1.5 px."""
    count, device = len(images), images.device
    sigma = 0.3 + 1.2 * torch.rand(count, 1, device=device)
    away = torch.arange(_BLUR_PX, device=device) - _BLUR_PX // 2
    line = torch.exp(-0.5 * (away / sigma) ** 2)
    line = line / line.sum(dim=1, keepdim=True)
    kernels = (line[:, :, None] * line[:, None, :]).repeat_interleave(3, dim=0)[:, None]
    padded = functional.pad(images, [_BLUR_PX // 2] * 4, mode="reflect")
    blurred = functional.conv2d(padded.flatten(0, 1)[None], kernels, groups=3 * count)
    return torch.where(_chosen(count, probability, device), blurred.view_as(images), images)


def _chosen(count: int, probability: float, device: torch.device) -> Tensor:
    """Choose the images that a step changes, bool (N, 1, 1, 1)."""
    return torch.rand(count, 1, 1, 1, device=device) < probability


def _symmetric(count: int, device: torch.device) -> Tensor:
    """Draw (N,), uniform in [-1, 1)."""
    return 2 * torch.rand(count, device=device) - 1


def _matrices(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Stack matrices (N, 2, 2) with rows a b and c d."""
    return torch.stack([a, b, c, d], dim=1).view(-1, 2, 2)
