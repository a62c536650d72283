"""Keep loaded versions in memory: production, and the few others that requests named last.

Everything here runs on the event loop; only the load that it is given runs elsewhere.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from model_core.registry.registry import LoadedVersion

Key = tuple[str, str]
"""Name and version."""


class Entry:
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
        """Wait for the version; raises what its load raises."""
        if self.version is not None:
            return self.version
        if self.load is None:
            raise RuntimeError("a version was asked for that is no longer in memory")
        # A caller who leaves must not stop the load for the others.
        return await asyncio.shield(self.load)


class VersionCache:
    """Keep `limit` versions; one more is on its way in, or out with its last requests.

    So memory never holds more than `limit` + 1. A request for another one waits, in order of
    coming, until one is freed; none that waits holds one, so it comes to that.

    Args:
        load: Loads a version by its name and number.
        limit: Versions kept at most, production among them; at least 2.
    """

    def __init__(self, load: Callable[[str, str], Awaitable[LoadedVersion]], *, limit: int) -> None:
        self.production: Entry | None = None
        self._load = load
        self._named: OrderedDict[Key, Entry] = OrderedDict()  # least recently used first
        self._max_named = limit - 1
        # Production comes without asking, and its place is handed on from one to the next.
        self._places = asyncio.Semaphore(limit)

    def loaded(self) -> list[LoadedVersion]:
        """List what later requests may have at once, production last."""
        entries = [*self._named.values(), *([self.production] if self.production else [])]
        return [entry.version for entry in entries if entry.version is not None]

    def named(self, key: Key) -> Entry:
        """Get a version beside production; all who ask while it loads get the same one."""
        if key not in self._named:
            while len(self._named) >= self._max_named:
                self._evict(self._named.popitem(last=False)[1])
            self._named[key] = self._begin(key)
            self._named[key].kept = True
        self._named.move_to_end(key)
        return self._named[key]

    def drop(self, is_meant: Callable[[LoadedVersion], bool]) -> None:
        """Evict versions beside production; they are loaded again for the next who asks."""
        for key, entry in list(self._named.items()):
            if entry.version is not None and is_meant(entry.version):
                self._evict(self._named.pop(key))

    @asynccontextmanager
    async def use(self, entry: Entry) -> AsyncIterator[LoadedVersion]:
        """Work with a version, which stays in memory until then.

        Raises:
            SegmentationError: it cannot be loaded.
        """
        entry.users += 1
        try:
            yield entry.version or await entry.loaded()
        finally:
            self._release(entry)

    async def promote(self, key: Key, sha256: str) -> LoadedVersion:
        """Put a version in production, and evict the former one; on an error it stays.

        Args:
            key: The new version.
            sha256: Of its card: one of that number in memory is another one if this differs.

        Raises:
            SegmentationError: it cannot be loaded.
        """
        entry = self._named.get(key)
        if entry is None or (entry.version is not None and entry.version.sha256 != sha256):
            entry = self._begin(key)
        async with self.use(entry) as version:
            for former in (self.production, self._named.pop(key, None)):
                if former is not None:
                    self._evict(former)
            entry.kept = True
            self.production = entry
        return version

    def _begin(self, key: Key) -> Entry:
        entry = Entry()
        entry.users = 1
        entry.load = asyncio.create_task(self._fill(entry, key))
        # Those who asked may all have left, and then nobody else looks at how it ended.
        entry.load.add_done_callback(lambda load: load.cancelled() or load.exception())
        return entry

    async def _fill(self, entry: Entry, key: Key) -> LoadedVersion:
        try:
            await self._places.acquire()
            entry.placed = True
            entry.version = await self._load(*key)
            return entry.version
        except BaseException:
            if self._named.get(key) is entry:
                del self._named[key]
            entry.kept = False
            raise
        finally:
            self._release(entry)

    def _evict(self, entry: Entry) -> None:
        entry.kept = False
        self._free_if_idle(entry)

    def _release(self, entry: Entry) -> None:
        entry.users -= 1
        self._free_if_idle(entry)

    def _free_if_idle(self, entry: Entry) -> None:
        if entry.kept or entry.users > 0:
            return
        # The load's error knows the load's frames, and these know the entry: without this, what
        # they hold would stay until the garbage collector comes by.
        entry.load = entry.version = None
        if entry.placed:
            entry.placed = False
            self._places.release()
