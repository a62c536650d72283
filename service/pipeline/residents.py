"""The versions in memory: production, the few others asked for last, and whichever still works.

Everything here runs on the event loop; only the load that it is given runs elsewhere.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from model_core.registry.registry import LoadedVersion

Key = tuple[str, str]
"""Name and version."""


class Held:
    """A version in memory, or on its way there.

    Attributes:
        version: None until it is loaded.
        load: Its load; None for one that was loaded elsewhere.
        users: How many wait for it or work with it, its load among them.
        kept: Whether later requests may have it.
        placed: Whether it takes one of the places in memory.
    """

    def __init__(self, version: LoadedVersion | None = None) -> None:
        self.version = version
        self.load: asyncio.Task[LoadedVersion] | None = None
        self.users = 0
        self.kept = self.placed = version is not None

    async def loaded(self) -> LoadedVersion:
        """The version, once it is loaded; raises what its load raises."""
        if self.version is not None:
            return self.version
        if self.load is None:
            raise RuntimeError("a version was asked for that is no longer in memory")
        # A caller who leaves must not stop the load for the others.
        return await asyncio.shield(self.load)


class Residents:
    """Keeps `limit` versions; one more is on its way in, or out with its last requests.

    So memory never holds more than `limit` + 1. Whoever needs another one waits, in order of
    coming, until one is let go; nobody who waits holds one, so it comes to that.

    Args:
        load: Loads a version by its name and number.
        limit: Versions kept at most, production among them; at least 2.
    """

    def __init__(self, load: Callable[[str, str], Awaitable[LoadedVersion]], *, limit: int) -> None:
        self.production: Held | None = None
        self._load = load
        self._others: OrderedDict[Key, Held] = OrderedDict()
        self._max_others = limit - 1
        # Production comes without asking, and its place is handed on from one to the next.
        self._places = asyncio.Semaphore(limit)

    def loaded(self) -> list[LoadedVersion]:
        """All that later requests may have at once, production last."""
        held = [*self._others.values(), *([self.production] if self.production else [])]
        return [each.version for each in held if each.version is not None]

    def other(self, key: Key) -> Held:
        """A version beside production: all who ask while it loads get the same one."""
        if key not in self._others:
            while len(self._others) >= self._max_others:
                self._let_go(self._others.popitem(last=False)[1])
            self._others[key] = self._begin(key)
            self._others[key].kept = True
        self._others.move_to_end(key)
        return self._others[key]

    def drop(self, is_meant: Callable[[LoadedVersion], bool]) -> None:
        """Let a version beside production go; who asks for it next has it loaded anew."""
        for key, held in list(self._others.items()):
            if held.version is not None and is_meant(held.version):
                self._let_go(self._others.pop(key))

    @asynccontextmanager
    async def use(self, held: Held) -> AsyncIterator[LoadedVersion]:
        """Work with a version: until then it stays in memory, and takes its place there.

        Raises:
            SegmentationError: it cannot be loaded.
        """
        held.users += 1
        try:
            yield await held.loaded()
        finally:
            self._done_with(held)

    async def promote(self, key: Key, sha256: str) -> LoadedVersion:
        """Put a version in production, and let the former one go; on an error it stays.

        Args:
            key: The new version.
            sha256: Of its card: one of that number in memory is another one if this differs.

        Raises:
            SegmentationError: it cannot be loaded.
        """
        held = self._others.get(key)
        if held is None or (held.version is not None and held.version.sha256 != sha256):
            held = self._begin(key)
        async with self.use(held) as version:
            for former in (self.production, self._others.pop(key, None)):
                if former is not None:
                    self._let_go(former)
            held.kept = True
            self.production = held
        return version

    def _begin(self, key: Key) -> Held:
        held = Held()
        held.users = 1
        held.load = asyncio.create_task(self._bring(held, key))
        # Those who asked may all have left, and then nobody else looks at how it ended.
        held.load.add_done_callback(lambda load: load.cancelled() or load.exception())
        return held

    async def _bring(self, held: Held, key: Key) -> LoadedVersion:
        try:
            await self._places.acquire()
            held.placed = True
            held.version = await self._load(*key)
            return held.version
        except BaseException:
            if self._others.get(key) is held:
                del self._others[key]
            held.kept = False
            raise
        finally:
            self._done_with(held)

    def _let_go(self, held: Held) -> None:
        held.kept = False
        self._free_if_idle(held)

    def _done_with(self, held: Held) -> None:
        held.users -= 1
        self._free_if_idle(held)

    def _free_if_idle(self, held: Held) -> None:
        if held.kept or held.users > 0:
            return
        # The load's error knows the load's frames, and these know `held`: without this, what they
        # hold would stay until the garbage collector comes by.
        held.load = held.version = None
        if held.placed:
            held.placed = False
            self._places.release()
