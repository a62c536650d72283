import pytest

from trainer.evaluation.metadata import ReaderPair
from trainer.evaluation.readers import beside_readers, format_agreement


def item(name: str, jaccard: float, dataset: str = "isic") -> dict[str, object]:
    dice = 2 * jaccard / (1 + jaccard)
    return {"dataset": dataset, "part": "test", "id": name, "dice": dice, "jaccard": jaccard}


def pair(dice: float, jaccard: float, tools: str = "T1 T1", *, by_hand: bool = False) -> ReaderPair:
    first, second = tools.split()
    return ReaderPair((first, second), by_hand, dice, jaccard)


ITEMS = [item("A", 0.8), item("B", 0.6), item("C", 0.1), item("A", 0.7, "isic_fullframe")]
PAIRS = {
    "a": [pair(0.9, 0.8, by_hand=True), pair(0.7, 0.6, "T1 T2")],
    "b": [pair(0.2, 0.1, "T1 T2")],
    "other": [pair(1.0, 1.0)],
}


def test_a_model_and_readers_are_compared_on_the_same_images() -> None:
    rows = {(row.dataset, row.pairs_of): row for row in beside_readers(ITEMS, PAIRS)}
    every = rows["isic test", "all"]
    assert (every.n, every.n_pairs) == (2, 3)
    # Of A the two pairs count as one: 0.7; B has 0.1.
    assert every.readers["jaccard"]["mean"] == pytest.approx((0.7 + 0.1) / 2)
    assert every.model["jaccard"]["mean"] == pytest.approx((0.8 + 0.6) / 2)
    assert every.difference["jaccard"]["mean"] == pytest.approx(0.3)
    assert every.difference["jaccard"]["low"] == pytest.approx(0.8 - 0.7)  # A alone
    assert every.difference["jaccard"]["high"] == pytest.approx(0.6 - 0.1)  # B alone
    # B fails with the model; of A one pair in two is below 0.65, of B its only one.
    assert every.model["failed"]["mean"] == pytest.approx(1 / 2)
    assert every.readers["failed"]["mean"] == pytest.approx((1 / 2 + 1) / 2)


def test_pairs_are_told_apart_by_tool_hand_and_lesion() -> None:
    rows = {(row.dataset, row.pairs_of): row for row in beside_readers(ITEMS, PAIRS)}
    ours = {kind: (row.n, row.n_pairs) for (name, kind), row in rows.items() if name == "isic test"}
    assert ours == {
        "all": (2, 3),
        "all with Dice 0.50 or more": (1, 2),
        "experts, both by hand": (1, 1),
        "T1–T1": (1, 1),
        "T1–T2": (2, 2),
    }
    assert rows["isic_fullframe test", "all"].n == 1
    assert rows["isic test", "T1–T2"].readers["dice"]["mean"] == pytest.approx((0.7 + 0.2) / 2)


def test_without_second_readers_there_is_nothing_to_compare() -> None:
    assert beside_readers(ITEMS, {}) == []


def test_agreement_is_a_table_with_a_row_for_each_kind() -> None:
    lines = format_agreement(beside_readers(ITEMS[:1], PAIRS)).splitlines()
    assert len(lines) == 2 + 5
    assert lines[2].startswith("| isic test | all | 1 (2) | 0.8889 (0.889–0.889) | 0.8000 (")
    assert lines[2].endswith("| 0.0% | 50.0% |")
