"""Read numbers in text, as people and files write them.

Python's own `float` and `int` take more: `0_1` is 1 to them, and `nan`, `inf` and the digits of
other alphabets are numbers. A wrong size of a pixel would follow.
"""

import math
import re

_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([Ee][+-]?[0-9]+)?")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SIZE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,12})?|\.[0-9]{1,12}")
"""Without exponent: squares of sizes have to stay within the range of numbers."""


def decimal(text: str) -> float:
    """Read a finite number such as `0.5` or `5e-1`, spaces around it or not.

    Raises:
        ValueError: it is none.

    Example:
        >>> decimal("+.5"), decimal(" 5E-1 ")
        (0.5, 0.5)
    """
    number = float(text) if _DECIMAL.fullmatch(text.strip(" ")) else math.nan
    if not math.isfinite(number):
        raise ValueError("expected a finite decimal number such as 0.5")
    return number


def integer(text: str) -> int:
    """Read a whole number, spaces around it or not.

    Raises:
        ValueError: it is none, or has more than 18 digits.

    Example:
        >>> integer("-12")
        -12
    """
    if not _INTEGER.fullmatch(text.strip(" ")):
        raise ValueError("expected a whole number such as 12")
    return int(text)


def parse_spacing(text: str) -> tuple[float, float]:
    """Read the height and width of a pixel, mm, from `row,col`.

    Raises:
        ValueError: not two finite numbers above 0.

    Example:
        >>> parse_spacing("0.02,0.025")
        (0.02, 0.025)
    """
    sizes = [float(part) if _SIZE.fullmatch(part) else 0.0 for part in text.split(",")]
    if len(sizes) != 2 or not all(size > 0 for size in sizes):
        raise ValueError(
            "expected the height and width of a pixel in mm, both above 0, such as 0.02,0.02"
        )
    return sizes[0], sizes[1]
