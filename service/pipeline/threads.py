"""Make pools of threads that are less urgent than the one of the event loop.

The event loop needs little of a core, but at once under load: every refusal, probe and answer waits
for it. The system weighs threads of one container or session against each other first, so this
takes nothing from the service as a whole.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

_STEPS = 5
"""Of niceness: a third of the weight of the event loop's thread."""


def background_pool(count: int, name: str) -> ThreadPoolExecutor:
    """Make a pool of threads that yield to the event loop.

    Args:
        count: Threads at most.
        name: Of the threads, as a debugger shows it.
    """
    return ThreadPoolExecutor(count, name, _lower_priority)


def _lower_priority() -> None:
    """Make this thread, and those that it will start, less urgent than others."""
    if sys.platform != "linux":  # elsewhere it would be the whole process
        return
    thread = threading.get_native_id()
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + _STEPS)
