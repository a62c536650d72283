"""The bytes of requests that are in memory, all requests together, and their limit."""

from service.contract.errors import QueueFullError
from service.telemetry.prometheus import Telemetry


class Buffered:
    """Counts them.

    Args:
        limit: Bytes at most; one request by itself is always let in.
        telemetry: Where refusals are counted.
    """

    def __init__(self, limit: int, telemetry: Telemetry) -> None:
        self.bytes = 0
        self._limit = limit
        self._telemetry = telemetry

    def add(self, count: int, held: int) -> None:
        """Count bytes of a request that holds `held` already.

        Raises:
            QueueFullError: with those of others they are too many; they are counted all the same.
        """
        self.bytes += count
        others = self.bytes - held - count
        if others and self.bytes > self._limit:
            self._telemetry.refusals.labels("bytes").inc()
            raise QueueFullError(
                f"{others} bytes of other bodies are in memory, the limit is {self._limit}"
            )

    def let_go(self, count: int) -> None:
        """Count bytes that are no longer in memory."""
        self.bytes -= count


class Share:
    """What one batch has of them: photographs that are worked on, and one on its way in.

    Args:
        buffered: All of them.
    """

    def __init__(self, buffered: Buffered) -> None:
        self._buffered = buffered
        self._held = self._in_work = self._coming = 0
        self._closed = False

    def work_on(self, count: int) -> None:
        """A photograph of so many bytes is whole; raises as `Buffered.add`."""
        self._in_work += count
        self._count()

    def done_with(self, count: int) -> None:
        """It is answered."""
        self._in_work -= count
        self._count()

    def await_rest(self, count: int) -> None:
        """So many bytes wait for the rest of their photograph; raises as `Buffered.add`."""
        self._coming = count
        self._count()

    def close(self) -> None:
        """The batch has ended."""
        self._buffered.let_go(self._held)
        self._held, self._closed = 0, True

    def _count(self) -> None:
        if self._closed:  # what was cancelled ends a little later
            return
        more, held = self._in_work + self._coming - self._held, self._held
        self._held += more
        if more > 0:
            self._buffered.add(more, held)
        else:
            self._buffered.let_go(-more)
