from collections import Counter

import torch

from trainer.training.batches import epoch_order

DATASETS = ["isic"] * 30 + ["ph2"] * 10 + ["ham10000"] * 160


def order(shares: dict[str, float], seed: int = 0) -> list[int]:
    rows: list[int] = epoch_order(DATASETS, shares, torch.Generator().manual_seed(seed)).tolist()
    return rows


def test_without_shares_an_epoch_shows_every_image_once() -> None:
    assert sorted(order({})) == list(range(200))


def test_a_share_is_filled_and_the_others_divide_the_rest_by_their_images() -> None:
    shown = Counter(DATASETS[row] for row in order({"ham10000": 0.5}))
    assert shown["ham10000"] == 100
    assert shown["isic"] + shown["ph2"] == 100
    assert 70 <= shown["isic"] <= 80


def test_a_large_dataset_shows_another_part_each_epoch_and_a_small_one_repeats() -> None:
    first, second = (order({"ham10000": 0.5}, seed) for seed in (0, 1))
    large = [{row for row in rows if DATASETS[row] == "ham10000"} for rows in (first, second)]
    assert all(len(rows) == 100 for rows in large)
    assert large[0] != large[1]
    times = Counter(row for row in first if DATASETS[row] != "ham10000")
    assert set(times.values()) == {2, 3}
    assert len(times) == 40


def test_the_order_depends_on_the_generator_alone() -> None:
    assert order({"isic": 0.3}) == order({"isic": 0.3})
