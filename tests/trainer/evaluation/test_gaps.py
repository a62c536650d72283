import pytest

from trainer.evaluation.gaps import format_gaps, largest_gaps
from trainer.evaluation.strata import Groups

SEXES = ("female", "male", "not known")


def item(dice: float, dataset: str = "isic") -> dict[str, object]:
    return {"dataset": dataset, "dice": dice}


def by_sex(*members: str) -> Groups:
    return {"sex": (SEXES, list(members))}


def named(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_the_gap_is_between_the_best_and_the_worst_large_group() -> None:
    items = [item(0.9)] * 40 + [item(0.8)] * 30 + [item(0.1)] * 50
    groups = by_sex(*["female"] * 40, *["male"] * 30, *["not known"] * 50)
    (gap,) = largest_gaps(items, groups, named(120))
    assert (gap.kind, gap.best, gap.worst, gap.n) == ("sex", "female", "male", (40, 30))
    assert gap.dice == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1})
    assert gap.within_sets == pytest.approx({"mean": 0.1, "low": 0.1, "high": 0.1})


def test_groups_below_thirty_images_are_not_compared() -> None:
    items = [item(0.9)] * 40 + [item(0.1)] * 29
    assert largest_gaps(items, by_sex(*["female"] * 40, *["male"] * 29), named(69)) == []


def test_a_gap_that_is_the_data_sets_alone_is_none_within_them() -> None:
    """More men are in the harder set, where both sexes score the same."""
    items = [item(0.9)] * 40 + [item(0.5, "ham10000")] * 40
    members = ["female"] * 30 + ["male"] * 10 + ["female"] * 10 + ["male"] * 30
    (gap,) = largest_gaps(items, by_sex(*members), named(80))
    assert gap.dice["mean"] == pytest.approx((30 * 0.9 + 10 * 0.5 - 10 * 0.9 - 30 * 0.5) / 40)
    assert gap.within_sets is not None
    assert gap.within_sets["mean"] == pytest.approx(0.0)


def test_groups_without_a_data_set_in_common_have_no_gap_within_one() -> None:
    items = [item(0.9)] * 30 + [item(0.5, "ham10000")] * 30
    (gap,) = largest_gaps(items, by_sex(*["female"] * 30, *["male"] * 30), named(60))
    assert gap.within_sets is None
    assert format_gaps([gap]).endswith(
        "| sex | female | male | 30, 30 | 0.4000 (0.400–0.400) | – |"
    )


def test_photographs_of_one_lesion_count_as_one_for_the_interval() -> None:
    scores = [0.8, 1.0] * 20 + [0.5, 0.7] * 20
    items, members = [item(dice) for dice in scores], ["female"] * 40 + ["male"] * 40
    (apart,) = largest_gaps(items, by_sex(*members), named(80))
    # Ten times as many photographs of the same lesions are no more knowledge.
    (same,) = largest_gaps(items * 10, by_sex(*members * 10), named(80) * 10)
    assert same.dice == pytest.approx(apart.dice)


def test_the_widest_gap_comes_first_and_sets_tools_and_readers_are_no_groups_of_people() -> None:
    items = [item(0.9)] * 30 + [item(0.8)] * 30
    halves = ["a"] * 30 + ["b"] * 30
    mixed = ["c"] * 29 + ["d"] + ["d"] * 29 + ["c"]
    kinds: Groups = {"age": (("c", "d"), mixed), "sex": (("a", "b"), halves)}
    groups = kinds | dict.fromkeys(("dataset", "tool", "readers"), (("a", "b"), halves))
    gaps = largest_gaps(items, groups, named(60))
    assert [gap.kind for gap in gaps] == ["sex", "age"]
