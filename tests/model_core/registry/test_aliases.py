import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_core.errors import CorruptVersionError
from model_core.registry.aliases import Aliases, parse_aliases

versions = st.sampled_from(["1.0.0", "1.1.0", "2.0.0-rc.1"])
moves = st.lists(st.tuples(st.sampled_from(["production", "canary"]), versions), max_size=8)


def after(moves: list[tuple[str, str]]) -> Aliases:
    aliases = Aliases()
    for alias, version in moves:
        aliases = aliases.pointing(alias, version)
    return aliases


@given(moves)
def test_what_is_stored_is_what_is_read(moves: list[tuple[str, str]]) -> None:
    data = after(moves).dump()
    assert parse_aliases(data, "x").dump() == data
    for alias in ("production", "canary"):
        assert parse_aliases(data, "x").steps(alias) == after(moves).steps(alias)


@given(moves, versions)
def test_going_back_undoes_a_promotion(moves: list[tuple[str, str]], version: str) -> None:
    aliases = after([*moves, ("production", "0.1.0")])
    there = aliases.pointing("production", version)
    assert there.back("production").steps("production") == aliases.steps("production")
    assert there.current.get("canary") == aliases.current.get("canary")


def test_pointing_to_where_it_points_is_no_step() -> None:
    aliases = after([("production", "1.0.0"), ("production", "1.0.0")])
    assert aliases.steps("production") == ["1.0.0"]


def test_without_a_history_the_file_is_a_plain_object() -> None:
    assert after([("production", "1.2.0")]).dump() == b'{\n  "production": "1.2.0"\n}\n'


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"production": 1}', '{"_before": []}', '{"_before": {"production": "1.0.0"}}',
     '{"_before": {"production": [1]}}'],
)  # fmt: skip
def test_what_is_no_aliases_file_is_refused(text: str) -> None:
    with pytest.raises(CorruptVersionError, match=r"^net/aliases\.json"):
        parse_aliases(text.encode(), "net/aliases.json")
