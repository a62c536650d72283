"""Decode images in processes of their own, any of which a hostile file may break."""

import json
import logging
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Connection

import numpy as np

from model_core import errors
from model_core.errors import ConfigError, InputError, UnreadableImageError
from model_core.images.formats.decoder_process import bare_environment
from model_core.predictor import Predictor, Prepared
from model_core.processing.preprocess import Geometry
from service.contract.errors import DecoderFailedError
from service.pipeline.decoder import memory_bytes
from service.telemetry.prometheus import Telemetry

_START_S = 60.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
"""Between two attempts to put another process in the place of one that ended."""
_CRASHES = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE})
"""Signals that a file brings about; any other came from outside."""
_WALL = 6
"""Times the processor's seconds that may pass on a busy machine."""
_LEAST_WALL_S = 30.0

logger = logging.getLogger("service.decoders")


class Decoders:
    """Hand images to processes that decode one at a time.

    Args:
        count: Processes.
        max_pixels: Limit on an image.
        seconds: Processor time that an image may take.
        telemetry: Where ends are counted.
        memory: Bytes that an image may take; by default what the largest needs.

    Raises:
        ConfigError: not all of them could be started.
    """

    def __init__(
        self,
        count: int,
        *,
        max_pixels: int,
        seconds: float,
        telemetry: Telemetry,
        memory: int | None = None,
    ) -> None:
        memory = memory or memory_bytes(max_pixels)
        self._limits = {"max_pixels": max_pixels, "seconds": seconds, "memory": memory}
        self._telemetry = telemetry
        self._idle: queue.SimpleQueue[_Decoder] = queue.SimpleQueue()
        self._closed = False
        starts = [threading.Thread(target=self._start) for _ in range(count)]
        for start in starts:
            start.start()
        for start in starts:
            start.join()
        if (started := self._idle.qsize()) < count:
            self.close()
            raise ConfigError(f"of {count} processes that decode only {started} could be started")

    def prepare(self, predictor: Predictor, data: bytes) -> Prepared:
        """Decode and resize an image in another process; for any number of threads at once.

        Raises:
            InputError: the image cannot be used, or broke its process.
            DecoderFailedError: its process was ended from outside, or there is none.
        """
        config = predictor.preprocess_config
        head = json.dumps({"size": config.size, "fit": config.fit}).encode()
        decoder = self._take()
        while decoder.process.poll() is not None:  # it ended while it had nothing to do
            self._ended(decoder)
            decoder = self._take()
        try:
            wait_s = max(_LEAST_WALL_S, _WALL * self._limits["seconds"])
            answer = decoder.ask(head + b"\n" + data, wait_s)
        except (EOFError, OSError) as exc:
            raise self._ended(decoder) from exc
        self._idle.put(decoder)
        return _prepared(answer, config.size)

    def pids(self) -> list[int]:
        """The processes that wait for work now."""
        idle = [self._idle.get() for _ in range(self._idle.qsize())]
        for decoder in idle:
            self._idle.put(decoder)
        return [decoder.process.pid for decoder in idle]

    def close(self) -> None:
        """End them all; what they work on is lost."""
        self._closed = True
        while not self._idle.empty():
            self._idle.get().end()

    def _start(self) -> bool:
        """Start a process, if that can be done now."""
        try:
            decoder = _Decoder(self._limits)
        except (EOFError, OSError):
            logger.exception("decoder=none")
            return False
        self._idle.put(decoder)
        if self._closed:
            self.close()
        return True

    def _replace(self) -> None:
        pause_s = _PAUSE_S
        while not self._closed and not self._start():
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _take(self) -> "_Decoder":
        try:
            return self._idle.get(timeout=_START_S)
        except queue.Empty as exc:
            raise DecoderFailedError(f"no process to decode it within {_START_S:g} s") from exc

    def _ended(self, decoder: "_Decoder") -> Exception:
        """Describe how a process has ended, and start another in its place."""
        code = decoder.end()
        threading.Thread(target=self._replace, daemon=True).start()
        self._telemetry.decoder_ends.inc()
        logger.error("decoder=%d ended=%d", decoder.process.pid, code)
        if code == -signal.SIGXCPU:
            limit = self._limits["seconds"]
            return UnreadableImageError(
                f"decoding the image takes more than {limit:g} s of processor time, the limit"
            )
        if -code in _CRASHES:
            return UnreadableImageError("the image is damaged in a way that broke its decoder")
        return DecoderFailedError("the process that decoded the image was ended; try again")


class _Decoder:
    """One process and the connection to it."""

    def __init__(self, limits: dict[str, float]) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            # Whatever a library prints of a file is for nobody.
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service.pipeline.decoder", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=bare_environment(),
            )
            self._connection = Connection(ours.detach())
        try:
            self._connection.send_bytes(json.dumps(limits).encode())
            self._receive(_START_S)
        except (EOFError, OSError):
            self.end()
            raise

    def ask(self, message: bytes, wait_s: float) -> bytes:
        """Get the process's answer; raises `EOFError` or `OSError` where it ends instead."""
        self._connection.send_bytes(message)
        return self._receive(wait_s)

    def end(self) -> int:
        """End it, where it has not ended, and give its exit code."""
        self._connection.close()
        try:
            return self.process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def _receive(self, wait_s: float) -> bytes:
        if not self._connection.poll(wait_s):
            raise TimeoutError(f"no answer within {wait_s:g} s")
        return self._connection.recv_bytes()


def _prepared(answer: bytes, size: int) -> Prepared:
    head, _, pixels = answer.partition(b"\n")
    reply = json.loads(head)
    if "error" in reply:
        kind = getattr(errors, reply["error"])
        if not issubclass(kind, InputError):
            raise TypeError(f"{kind} is no InputError")
        raise kind(reply["detail"])
    if reply["spacing_mm"] is not None:
        reply["spacing_mm"] = tuple(reply["spacing_mm"])
    # A copy, because PyTorch warns of memory that it may not write.
    image = np.frombuffer(pixels, np.uint8).reshape(size, size, 3).copy()
    return Prepared(image, Geometry(**reply))
