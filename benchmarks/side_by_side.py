"""Call a function in several processes that begin their work at the same moment."""

import multiprocessing
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
        queue.Empty: one did not return in time.
    """
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(len(arguments)), context.Queue()
    processes = [
        context.Process(target=_deliver, args=(results, work, start, each)) for each in arguments
    ]
    for process in processes:
        process.start()
    try:
        return [results.get(timeout=timeout_s) for _ in processes]
    finally:
        for process in processes:
            process.join(10)
            process.kill()


def _deliver(results: Any, work: Callable[..., Any], start: Any, each: tuple[Any, ...]) -> None:
    results.put(work(start, *each))
