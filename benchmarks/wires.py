"""How a photograph travels to a server and its mask back: as a form, or as it is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.bodies import MULTIPART, multipart

PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Call:
    """One request, ready to be sent.

    Attributes:
        headers: Of the request.
        body: Of the request.
    """

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Wire:
    """What a server wants to be asked, and how it answers.

    Attributes:
        path: Of the URL.
        call: Makes the request of a photograph.
        mask: Takes the PNG out of an answer's headers and content; raises a ValueError where there
            is none.
    """

    path: str
    call: Callable[[bytes], Call]
    mask: Callable[[Mapping[str, str], bytes], bytes]


def _form(photograph: bytes) -> Call:
    return Call({"Content-Type": MULTIPART, "Accept": "image/png"}, multipart(photograph))


def _plain(photograph: bytes) -> Call:
    return Call({"Content-Type": "image/jpeg", "Accept": "image/png"}, photograph)


def _png(_: Mapping[str, str], content: bytes) -> bytes:
    if not content.startswith(PNG):
        raise ValueError("not a PNG")
    return content


FORM, PLAIN = "form", "plain"
WIRES = {
    FORM: Wire("/segment", _form, _png),
    PLAIN: Wire("/segment", _plain, _png),
}
"""By the name that the load generator is told."""
