"""Which terms weights may be published under that came from other weights.

The terms are free text, so that only what is recognised in it can be compared. In doubt a licence
counts as freer: then a person has to say why it may be.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from model_core.errors import GateError

_RESTRICTIONS = {
    "non-commercial": r"non-?\s?commercial|\bnc\b",
    "research or education only": r"\bresearch\b|\beducation",
    "share alike": r"share.?alike|\bsa\b|\b[al]?gpl\b",
    "no derivatives": r"no.?deriv|\bnd\b",
}
_OPEN = r"(cc0|cc.by.\d|mit\b|apache|bsd|isc\b|unlicense|public domain)"


def settle_licence(
    licence: str | None, parents: Sequence[Mapping[str, Any]], *, because: str = ""
) -> str:
    """Choose the terms of weights: those that are given, else those of what the weights came from.

    Args:
        licence: Terms that a person asks for; None or blank takes the parents'.
        parents: Versions that the weights began with or learned from, with `name`, `version` and
            `licence`.
        because: Why the terms may be freer than a parent's.

    Raises:
        GateError: none are given and there is no parent or several that differ; or they are freer
            than a parent's, and no reason is given.
    """
    theirs = list(dict.fromkeys(parent["licence"] for parent in parents))
    if licence is None or not licence.strip():
        if len(theirs) == 1:
            return str(theirs[0])
        came = f"the weights came from versions under {len(theirs)} licences" if theirs else ""
        raise GateError(
            f"licence is empty, expected the terms of the weights (--licence){came and '; '}{came}"
        )
    for parent in parents:
        lost = _freed(parent["licence"], licence)
        if lost and not because.strip():
            raise GateError(
                f"the weights came from {parent['name']}@{parent['version']}, whose licence is "
                f"{parent['licence']!r}, and {licence!r} is freer ({lost}): leave --licence out to "
                "take the same terms, or say with --licence-because why that may be"
            )
    return licence


def _freed(theirs: str, ours: str) -> str:
    """Say what a licence drops of another's restrictions; nothing where it keeps them."""
    if _plain(theirs) == _plain(ours):
        return ""
    wanted = _found(theirs)
    if not wanted and not re.match(_OPEN, _plain(theirs)):
        return "its terms are not recognised, and these are other words"
    missing = [name for name in wanted if name not in _found(ours)]
    return f"it does not say {', '.join(missing)}" if missing else ""


def _found(licence: str) -> list[str]:
    return [name for name, words in _RESTRICTIONS.items() if re.search(words, _plain(licence))]


def _plain(licence: str) -> str:
    return " ".join(licence.lower().split())
