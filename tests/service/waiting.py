"""For what happens soon, in another thread."""

import time
from collections.abc import Callable

from tests.service.slow_backend import TIMEOUT_S


def wait_until(condition: Callable[[], object]) -> None:
    """Come back once the condition holds.

    Raises:
        TimeoutError: it does not within `TIMEOUT_S`.
    """
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {TIMEOUT_S} s")
        time.sleep(0.005)
