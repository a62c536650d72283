import pytest
import torch

from trainer.config import AugmentConfig
from trainer.training.artefacts import _hairs
from trainer.training.augment import Augment, _hue_turns

EVERYTHING = AugmentConfig(
    hflip=0.5, vflip=0.5, rotate_deg=180.0, scale=(0.7, 1.5), translate=0.1, shear_deg=8.0,
    aspect=1.3, elastic=0.02, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05, tint=0.1,
    grey=0.1, gamma=0.2, coarse=0.5, blur=0.5, noise=0.5, hair=0.5, marks=0.5, sticker=0.5,
    occlude=0.5, fade=0.5, bare=0.3,
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
        pytest.param(AugmentConfig(aspect=1.5), id="stretch"),
        pytest.param(AugmentConfig(elastic=0.05), id="elastic"),
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
        brightness=0.3, contrast=0.3, tint=0.2, gamma=0.2, noise=1.0, hair=1.0, occlude=1.0
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


@pytest.mark.parametrize(
    "config",
    [
        pytest.param(AugmentConfig(hair=1.0), id="hair"),
        pytest.param(AugmentConfig(marks=1.0), id="marks"),
        pytest.param(AugmentConfig(sticker=1.0), id="sticker"),
        pytest.param(AugmentConfig(occlude=1.0), id="vignette"),
    ],
)
def test_artefacts_cover_part_of_every_image_and_add_no_lesion(config: AugmentConfig) -> None:
    torch.manual_seed(0)
    images, masks = square_lesion(8, 64)
    covered_images, left = Augment(config)(images, masks)
    covered = ((covered_images - images).abs() > 0.05).any(dim=1).flatten(1).float().mean(dim=1)
    assert 0 < covered.min() <= covered.max() < 0.9
    assert (left <= masks).all()


def test_a_sticker_hides_the_lesion_beneath_it() -> None:
    torch.manual_seed(0)
    truth = torch.ones(8, 1, 64, 64)
    images, masks = Augment(AugmentConfig(sticker=1.0))(torch.full((8, 3, 64, 64), 0.5), truth)
    covered = (images != 0.5).any(dim=1, keepdim=True)
    assert covered.any()
    assert torch.equal(masks, (~covered).float())


def test_hair_is_the_same_in_every_process_for_one_seed() -> None:
    # A resumed run draws its layers anew.
    hairs, truth = AugmentConfig(hair=1.0), torch.zeros(4, 1, 48, 48)
    torch.manual_seed(5)
    first, _ = Augment(hairs)(torch.ones(4, 3, 48, 48), truth)
    _hairs.cache_clear()
    torch.manual_seed(5)
    second, _ = Augment(hairs)(torch.ones(4, 3, 48, 48), truth)
    assert torch.equal(first, second)


def test_grey_leaves_three_equal_channels_of_the_same_light() -> None:
    torch.manual_seed(0)
    before = torch.rand(4, 3, 16, 16)
    images, _ = Augment(AugmentConfig(grey=1.0))(before, torch.zeros(4, 1, 16, 16))
    luma = (before * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(dim=1)
    assert torch.allclose(images, luma[:, None].expand(-1, 3, -1, -1), atol=1e-5)


def test_hue_and_saturation_leave_grey_pixels_alone() -> None:
    torch.manual_seed(0)
    grey = torch.rand(4, 1, 16, 16).expand(-1, 3, -1, -1)
    images, _ = Augment(AugmentConfig(hue=0.5, saturation=1.0))(grey, torch.zeros(4, 1, 16, 16))
    assert torch.allclose(images, grey, atol=1e-5)


def test_a_third_of_the_hue_circle_turns_red_into_green_or_blue() -> None:
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1
    turned = torch.einsum("nij,njhw->nihw", _hue_turns(torch.tensor([1 / 3])), red)
    assert torch.allclose(turned[0, :, 0, 0], torch.tensor([0.0, 1.0, 0.0]), atol=1e-6)


def test_contrast_turns_about_the_mean_light() -> None:
    torch.manual_seed(0)
    before = 0.4 + 0.2 * torch.rand(8, 3, 16, 16)
    images, _ = Augment(AugmentConfig(contrast=0.5))(before, torch.zeros(8, 1, 16, 16))
    luma = torch.tensor([0.299, 0.587, 0.114])
    assert torch.allclose(images.mean((2, 3)) @ luma, before.mean((2, 3)) @ luma, atol=1e-5)
    assert not torch.allclose(images.std((2, 3)), before.std((2, 3)), atol=1e-3)


def test_blur_and_coarse_keep_the_light_and_lose_detail() -> None:
    torch.manual_seed(0)
    before, truth = torch.rand(4, 3, 32, 32), torch.zeros(4, 1, 32, 32)
    for config in (AugmentConfig(blur=1.0), AugmentConfig(coarse=1.0)):
        images, _ = Augment(config)(before, truth)
        assert torch.allclose(images.mean((2, 3)), before.mean((2, 3)), atol=0.02)
        assert (images.std((2, 3)) < before.std((2, 3))).all()


# --- what the data lacks -----------------------------------------------------------------------


def test_a_faded_lesion_is_nearer_to_its_skin_and_keeps_its_mask() -> None:
    torch.manual_seed(0)
    before, truth = square_lesion()
    images, masks = Augment(AugmentConfig(fade=1.0))(before, truth)
    inside, outside = truth.bool().expand_as(images), ~truth.bool().expand_as(images)
    contrast = images[outside].mean() - images[inside].mean()
    assert torch.equal(masks, truth)
    assert 0.1 < contrast < 0.45  # of 0.6
    assert torch.allclose(images[outside], before[outside], atol=1e-5)


def test_a_lesion_that_fills_the_frame_has_no_skin_to_fade_into() -> None:
    images, masks = torch.full((2, 3, 32, 32), 0.3), torch.ones(2, 1, 32, 32)
    assert torch.equal(Augment(AugmentConfig(fade=1.0))(images, masks)[0], images)


def test_bare_skin_is_a_piece_without_lesion() -> None:
    torch.manual_seed(0)
    images, masks = Augment(AugmentConfig(bare=1.0))(*square_lesion())
    assert not masks.any()
    assert images.min() > 0.79  # of the skin's 0.8: no dark pixel came along


def test_where_the_lesion_leaves_no_room_the_photograph_stays() -> None:
    images, masks = torch.full((2, 3, 32, 32), 0.3), torch.ones(2, 1, 32, 32)
    after, still = Augment(AugmentConfig(bare=1.0))(images, masks)
    assert torch.equal(after, images)
    assert torch.equal(still, masks)
