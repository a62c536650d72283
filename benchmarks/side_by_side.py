"""Call a function in several processes that begin their work at the same moment."""

import multiprocessing
import traceback
from collections.abc import Callable, Sequence
from typing import Any


def side_by_side(
    work: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], *, timeout_s: float
) -> list[Any]:
    """Call `work(start, *each)` in a new process for each of the tuples.

    Args:
        work: Of a module. It calls `start.wait()`, as all others do, when it is ready to begin.
        arguments: One tuple a process, further than `start`.
        timeout_s: Longest wait for each of the results.

    Returns:
        What they returned, in no order.

    Raises:
        RuntimeError: one of them failed; the text has its traceback.
        queue.Empty: one did not return in time.
    """
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(len(arguments)), context.Queue()
    processes = [
        context.Process(target=_deliver, args=(results, work, start, each)) for each in arguments
    ]
    for process in processes:
        process.start()
    returned = []
    try:
        for _ in processes:
            value, failure = results.get(timeout=timeout_s)
            if failure:
                raise RuntimeError(failure)
            returned.append(value)
    finally:
        for process in processes:
            # One that has returned ends by itself; one that others wait for never would.
            process.join(10 if len(returned) == len(processes) else 0)
            process.kill()
    return returned


def _deliver(results: Any, work: Callable[..., Any], start: Any, each: tuple[Any, ...]) -> None:
    try:
        results.put((work(start, *each), ""))
    except Exception:
        results.put((None, traceback.format_exc()))
