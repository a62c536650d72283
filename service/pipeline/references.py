"""What a request's `model` stands for: one thread looks it up, and it is known for a second.

Whoever asks for ever new versions keeps that thread busy, and no photograph waits for it.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor

_KNOWN_S = 1.0
_MOST = 256


class References:
    """Looks them up.

    Args:
        resolve: Gives the version of a name and a reference; blocks.
        thread: Runs it.
    """

    def __init__(self, resolve: Callable[[str, str], str], thread: Executor) -> None:
        self._resolve = resolve
        self._thread = thread
        self._known: OrderedDict[tuple[str, str], tuple[float, asyncio.Future[str]]] = OrderedDict()

    async def version(self, name: str, reference: str) -> str:
        """The version; raises what `resolve` raises."""
        loop, key = asyncio.get_running_loop(), (name, reference)
        until, found = self._known.get(key, (0.0, None))
        if found is None or until < loop.time():
            found = loop.run_in_executor(self._thread, self._resolve, name, reference)
            # Those who asked may all have left, and then nobody else looks at how it ended.
            found.add_done_callback(lambda future: future.cancelled() or future.exception())
            self._known[key] = loop.time() + _KNOWN_S, found
            self._known.move_to_end(key)
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return await asyncio.shield(found)
