import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from trainer.data.drawn import draw_lesion
from trainer.data.near_duplicates import NEAR_BITS, near_pairs, perceptual_hash


def drawn(seed: int) -> Image.Image:
    return Image.fromarray(draw_lesion(seed, height=192, width=256)[0])


def saved_as_jpeg(picture: Image.Image) -> Image.Image:
    out = io.BytesIO()
    picture.save(out, format="JPEG", quality=40)
    return Image.open(out)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(saved_as_jpeg, id="JPEG"),
        pytest.param(lambda picture: picture.resize((1024, 768)), id="larger"),
        pytest.param(lambda picture: picture.resize((256, 256)), id="squashed"),
        pytest.param(lambda picture: ImageEnhance.Brightness(picture).enhance(0.8), id="darker"),
    ],
)
def test_a_picture_saved_anew_is_near_to_itself(change: object) -> None:
    for seed in range(5):
        pair = [perceptual_hash(drawn(seed)), perceptual_hash(change(drawn(seed)))]  # type: ignore[operator]
        assert (0, 0) in [(one, other) for one, other, _ in near_pairs(pair[:1], pair[1:])]


def test_other_lesions_are_not_near() -> None:
    hashes = [perceptual_hash(drawn(seed)) for seed in range(40)]
    assert [(i, j) for i, j, _ in near_pairs(hashes, hashes)] == [(i, i) for i in range(40)]


def test_near_pairs_counts_bits_as_brute_force_does() -> None:
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2, (30, 255), dtype=np.uint8)
    bits[15:] = bits[:15] ^ (rng.random((15, 255)) < 0.12)
    hashes = [np.packbits(row).tobytes().hex() for row in bits]
    expected = [
        (i, j, int((bits[i] != bits[j]).sum()))
        for i in range(30)
        for j in range(30)
        if (bits[i] != bits[j]).sum() <= NEAR_BITS
    ]
    assert near_pairs(hashes, hashes) == expected
    assert len(expected) > 30


def test_a_photograph_without_hash_is_near_to_none() -> None:
    assert near_pairs(["", perceptual_hash(drawn(0))], [""]) == []
