"""Ten minutes of trouble under load: no wrong mask, and nothing that was accepted is lost."""

import pytest

from tests.fixtures.service.chaos import run


@pytest.mark.foreign
def test_ten_minutes_of_trouble_bring_no_wrong_mask_and_lose_nothing(bucket: str) -> None:
    stage = run(bucket, minutes=10)
    assert stage.faults == []
    right = sum(n for (_, outcome), n in stage.outcomes.items() if outcome.startswith("right"))
    assert right > 100
