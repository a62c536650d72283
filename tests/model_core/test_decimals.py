"""Numbers in text: what Python's own parsers take beyond decimals is none."""

import pytest

from model_core.decimals import decimal, integer, parse_spacing

NO_NUMBERS = ["", "0_1", "1_000", "nan", "inf", "-Infinity", "0x1", "٣", "５", "1,5", "1 0", "\t1",
              "--1"]  # fmt: skip


@pytest.mark.parametrize("text", [*NO_NUMBERS, "e1", ".", "1e999"])
def test_what_is_no_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"a finite decimal number such as 0\.5"):
        decimal(text)


@pytest.mark.parametrize("text", [*NO_NUMBERS, "1.0", "1e3", "9" * 5000])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a whole number such as 12"):
        integer(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("0.5", 0.5), ("-1.", -1.0), ("+.5", 0.5), (" 5e-1 ", 0.5), ("7", 7.0)]
)
def test_decimals_are_read_however_they_are_written(text: str, expected: float) -> None:
    assert decimal(text) == expected


@pytest.mark.parametrize(
    "text", ["0_1,0_1", "0.02", "0.02,0.02,0.02", "0,1", "-1,1", "nan,nan", "1e-200,1e-200", "1,٣"]
)
def test_a_spacing_has_two_sizes_above_0(text: str) -> None:
    with pytest.raises(ValueError, match="the height and width of a pixel in mm"):
        parse_spacing(text)
