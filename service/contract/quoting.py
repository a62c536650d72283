"""Limit what an error quotes of a request to numbers and our own words.

A field name, a path or a header may hold a patient's name, and answers end up in others' logs.
"""

import difflib
import mimetypes
from collections.abc import Collection

FIELDS = frozenset(
    {
        "annotator",
        "bits",
        "format",
        "image",
        "images",
        "include",
        "label_config",
        "margin",
        "mask",
        "measurements",
        "model",
        "pred",
        "schema",
        "seconds",
        "spacing_mm",
        "tasks",
        "threshold",
        "tolerance_px",
        "truth",
        "version",
    }
)
"""Every form field and parameter of the routes, and what Label Studio sends; a test looks for all
of the OpenAPI document."""

UNKNOWN = "(unknown)"
_WHOLE = ("(form)", "(body)")  # the body as a whole, as our own errors call it
_FORM_TYPE = "application/x-www-form-urlencoded"  # what Python's list lacks


def known_field(name: str) -> str:
    """Return the name of a field or parameter that is one of ours or close to it.

    Example:
        >>> known_field("image"), known_field("thresold"), known_field("Jane-Doe-1970")
        ('image', 'thresold', '(unknown)')
    """
    if name in FIELDS or name in _WHOLE:
        return name
    near = difflib.get_close_matches(name[:40], FIELDS, n=1, cutoff=0.8)
    return name if near and abs(len(name) - len(near[0])) <= 2 else UNKNOWN


def unknown_name(name: str, names: Collection[str]) -> str:
    """Describe the error of an unknown parameter, quoting the route's own names alone.

    Args:
        name: As the caller wrote it.
        names: Those of the route.

    Example:
        >>> unknown_name("treshold", ["model", "threshold"])
        'no such parameter, did you mean threshold?'
        >>> unknown_name("Jane-Doe-1970", ["model", "threshold"])
        'no such parameter, expected model, threshold'
    """
    near = difflib.get_close_matches(name[:40].lower(), names, n=1)
    meant = f"did you mean {near[0]}?" if near else f"expected {', '.join(sorted(names))}"
    return f"no such parameter, {meant}"


def known_media_type(declared: str) -> str:
    """Quote a media type that is registered.

    Example:
        >>> known_media_type("application/json"), known_media_type("text/jane-doe")
        ("'application/json'", 'of a type that is not known')
    """
    known = declared in mimetypes.types_map.values() or declared == _FORM_TYPE
    return repr(declared) if known else "of a type that is not known"
