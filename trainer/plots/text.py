"""Tables of figures as Markdown, and aligned for a terminal."""

from collections.abc import Iterable, Mapping, Sequence

from model_core.scores.summary import Interval

MISSING = "–"
"""In a cell whose figure does not exist."""


def markdown_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format rows as a Markdown table, without a line end after the last."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Format one line of a table for a terminal, each cell filled up to its width."""
    return "".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def interval(
    value: Interval | Mapping[str, float] | None, digits: int = 4, *, between: str = " "
) -> str:
    """Format a mean with its interval, which has a digit less: `0.9123 (0.905–0.919)`."""
    if value is None:
        return MISSING
    low, high = (f"{end:.{max(1, digits - 1)}f}" for end in (value["low"], value["high"]))
    return f"{value['mean']:.{digits}f}{between}({low}–{high})"
