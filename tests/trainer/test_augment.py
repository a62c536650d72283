import pytest
import torch

from trainer.augment import Augment
from trainer.config import AugmentConfig

EVERYTHING = AugmentConfig(
    hflip=0.5, vflip=0.5, rotate_deg=180.0, scale=(0.7, 1.5), translate=0.1, shear_deg=8.0,
    brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, gamma=0.2,
    blur=0.5, noise=0.5, occlude=0.5,
)  # fmt: skip


def square_lesion(count: int = 4, size: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    """Bright skin with a dark square, off the centre, and its mask."""
    masks = torch.zeros(count, 1, size, size)
    masks[..., 6:16, 10:24] = 1
    return 0.8 - 0.6 * masks.expand(-1, 3, -1, -1), masks


def test_nothing_switched_on_changes_nothing() -> None:
    images, masks = square_lesion()
    same_images, same_masks = Augment(AugmentConfig())(images, masks)
    assert torch.equal(same_images, images)
    assert torch.equal(same_masks, masks)


def test_shapes_and_ranges_stay_whatever_is_switched_on() -> None:
    torch.manual_seed(0)
    images, masks = Augment(EVERYTHING)(*square_lesion(8))
    assert images.shape == (8, 3, 32, 32)
    assert masks.shape == (8, 1, 32, 32)
    assert 0 <= images.min() <= images.max() <= 1
    assert set(masks.unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AugmentConfig(hflip=1.0), id="left-right"),
        pytest.param(AugmentConfig(vflip=1.0), id="up-down"),
        pytest.param(AugmentConfig(rotate_deg=180.0), id="rotation"),
        pytest.param(AugmentConfig(scale=(0.7, 1.5)), id="zoom"),
        pytest.param(AugmentConfig(translate=0.2), id="shift"),
        pytest.param(AugmentConfig(shear_deg=15.0), id="shear"),
    ],
)
def test_the_mask_moves_with_its_image(config: AugmentConfig) -> None:
    torch.manual_seed(0)
    before, _ = square_lesion()
    images, masks = Augment(config)(*square_lesion())
    dark = (images[:, :1] < 0.5).float()
    assert not torch.equal(images, before)
    assert (dark != masks).float().mean() < 0.01


def test_colour_leaves_the_mask_alone() -> None:
    torch.manual_seed(0)
    before, truth = square_lesion()
    colour = AugmentConfig(
        brightness=0.3, contrast=0.3, hue=0.05, gamma=0.2, noise=1.0, occlude=1.0
    )
    images, masks = Augment(colour)(before, truth)
    assert torch.equal(masks, truth)
    assert not torch.allclose(images, before)


def test_the_global_seed_repeats_a_batch() -> None:
    augment = Augment(EVERYTHING)
    torch.manual_seed(3)
    first = augment(*square_lesion())[0]
    torch.manual_seed(3)
    second = augment(*square_lesion())[0]
    assert torch.equal(first, second)
