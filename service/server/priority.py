"""Lets threads that compute step back, so that the event loop gets a core as soon as it needs one.

It needs little, but under load at once: what waits for it is every refusal, probe and answer. The
system weighs threads of one container or session against each other first, so this takes nothing
from the service as a whole.
"""

import os
import sys
import threading
from contextlib import suppress

_STEPS = 5
"""Of niceness: a third of the weight of the event loop's thread."""


def step_back() -> None:
    """Make this thread, and those it will start, less urgent than the one of the event loop."""
    if sys.platform != "linux":  # elsewhere it would be the whole process
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS)
