"""Errors that keep a photograph from its answer, by what they stop."""

from typing import Literal

Side = Literal["archive", "service"]


class SideError(Exception):
    """A server is away, busy, full or refuses this caller: the next photograph would fail, too.

    Attributes:
        side: Which one.
        reason: In words, without anything of a patient.
        wait_s: How long it asked to be left alone, s, if it did.
        blamed: Whether the photograph may be the cause: then it waits longer each time.
    """

    def __init__(
        self, side: Side, reason: str, *, wait_s: float | None = None, blamed: bool = False
    ) -> None:
        super().__init__(f"{side}: {reason}")
        self.side: Side = side
        self.reason = reason
        self.wait_s = wait_s
        self.blamed = blamed


class PhotographError(Exception):
    """One photograph fails, perhaps only for now; the others are none of its business."""


class RefusedPhotographError(PhotographError):
    """The service will never answer this photograph; the text is its problem, by name."""


class GonePhotographError(PhotographError):
    """The archive does not have the object any more, or not yet."""
