"""Lets mkdocs find its way: links out of docs/, and pages that nobody has put into the menu yet."""

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
_LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Add the decisions, then every other page that the menu lacks, to its end."""
    config["nav"] += [
        {"Decisions": [f"decisions/{page.name}" for page in sorted(DOCS.glob("decisions/*.md"))]}
    ]
    listed = set(_files(config["nav"]))
    pages = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
    if more := [page for page in pages if page not in listed]:
        config["nav"].append({"More": more})
    return config


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Name files of the repository instead of linking to them: the site does not hold them.

    A link to a file that is nowhere stays as it is, and fails the strict build.
    """
    folder = (DOCS / page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        outside = target.exists() and not target.is_relative_to(DOCS)
        return link[1] if outside else link[0]

    return _LINK.sub(plain, markdown)


def _files(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav
    return [name for part in parts for name in _files(part)]
