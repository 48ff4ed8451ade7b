"""Holds messages to a rate, so that a backlog does not take all of a line: acknowledgements go past them."""

from collections import deque
from collections.abc import Callable
from typing import Final

import trio
from noctule.config.limits import BRIDGE_WAITING_MAX_BYTES, BRIDGE_WAITING_MAX_MESSAGES

_QOS: Final = 0x06


class Pace:
    """Messages of QoS 1 and 2 are as many as the session sends unacknowledged; of QoS 0 the newest are dropped beyond
    a limit, as they are for a client that reads too slowly."""

    def __init__(self, rate_per_s: float, send: Callable[[bytes], None], drop: Callable[[], None]) -> None:
        """``send`` gets what may be sent, ``drop`` is called for each message that is not."""
        self._interval_s = 1 / rate_per_s
        self._send = send
        self._drop = drop
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._change = trio.Event()

    def put(self, packets: bytes) -> None:
        """A PUBLISH, with what goes right before it, to be sent in its turn."""
        if (
            not packets[0] & _QOS
            and packets[0] >> 4 == 3
            and (len(self._waiting) >= BRIDGE_WAITING_MAX_MESSAGES or self._bytes >= BRIDGE_WAITING_MAX_BYTES)
        ):
            self._drop()
            return
        self._waiting.append(packets)
        self._bytes += len(packets)
        self._change.set()

    async def run(self) -> None:
        """Send, until cancelled."""
        next_at = trio.current_time()
        while True:
            while not self._waiting:
                self._change = trio.Event()
                await self._change.wait()
            await trio.sleep_until(next_at)
            next_at = max(next_at, trio.current_time() - self._interval_s) + self._interval_s
            packets = self._waiting.popleft()
            self._bytes -= len(packets)
            self._send(packets)
