"""How long a request had lain in its socket before the event loop came to read it.

A busy loop reads late, and what waits in the kernel is in no queue of ours: unless that time is
counted, a request is promised an answer within a deadline that has half passed.
"""

import socket
import struct
import sys
from asyncio import BaseTransport
from typing import Any

_LAST_DATA_RECV = struct.Struct("<52xI")
"""`tcpi_last_data_recv` of Linux's `struct tcp_info`: ms since the last segment with data came."""


class Arrival:
    """A request whose head has come.

    Attributes:
        units: What it is expected to cost, see `service.access.admission`.
        began: When its head was read, by the event loop's clock, s.
        waited_s: How long its bytes lay in the socket, all together.
    """

    def __init__(self, *, units: float, began: float) -> None:
        self.units = units
        self.began = began
        self.waited_s = 0.0


def waited_s(transport: BaseTransport) -> float:
    """How long ago came what the transport has just read, s; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0.0
    connection: Any = transport.get_extra_info("socket")
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV.size)
        (milliseconds,) = _LAST_DATA_RECV.unpack(info)
    except (OSError, struct.error):
        return 0.0
    return float(milliseconds) / 1000
