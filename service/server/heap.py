"""Gives memory back to the system that the C library would keep for later."""

import ctypes
import sys

LARGE_PX = 10_000_000
"""From here on a photograph leaves holes in the heap that are worth some milliseconds."""


def give_back() -> None:
    """Let go of what is free in the heap; takes some milliseconds. Without glibc, nothing."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
