"""HTML pages with everything in them, from the Jinja templates in `templates/`."""

from base64 import b64encode
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_PAGES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")),
    autoescape=True,  # names of sets and files come from others
    undefined=StrictUndefined,
    trim_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """Render a page from a template's name and the values that it uses, all escaped."""
    return _PAGES.get_template(template).render(values)


def image(data: bytes, kind: str, *, alt: str) -> dict[str, str]:
    """Embed an image for the macro `figure`.

    `kind` is `png`, `jpeg` or `svg+xml`.
    """
    return {"alt": alt, "src": f"data:image/{kind};base64,{b64encode(data).decode()}"}
