"""Pieces of an HTML page from plain values, all escaped."""

import base64
from collections.abc import Iterable
from html import escape


def table(caption: str, columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose first column names the rows; a line break in a cell is kept."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    body = "".join(f"<tr>{_cells(cells)}</tr>" for cells in rows)
    return (
        f'<div class="scroll" tabindex="0"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def terms(pairs: Iterable[tuple[str, str]]) -> str:
    """A list of names and values."""
    rows = (f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in pairs)
    return f"<dl>{''.join(rows)}</dl>"


def figure(images: Iterable[str], caption: str) -> str:
    """Images (`image`) side by side where there is room, over one caption."""
    shown = "".join(images)
    return (
        f'<figure><div class="charts">{shown}</div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def image(data: bytes, kind: str, *, alt: str) -> str:
    """An image that the page carries itself.

    Args:
        data: The file's bytes.
        kind: `png`, `jpeg` or `svg+xml`.
        alt: What it shows, for who cannot see it.
    """
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{escape(alt)}" src="data:image/{kind};base64,{encoded}">'


def note(text: str, *, kind: str = "note") -> str:
    """A paragraph of a CSS class."""
    return f'<p class="{kind}">{escape(text)}</p>'


def missing(what: str, command: str) -> str:
    """What is not there, and the command that makes it."""
    return f'<p class="missing">{escape(what)} To make it: <code>{escape(command)}</code></p>'


def _cells(cells: Iterable[str]) -> str:
    first, *others = cells
    shown = "".join(f"<td>{escape(cell)}</td>" for cell in others)
    return f'<th scope="row">{escape(first)}</th>{shown}'
