"""What waits for a lazy bridge while it is not connected: counted, and messages of QoS 0 kept meanwhile."""

from typing import Final

import trio
from noctule.bridges.here import LocalSession, SessionRefusedError
from noctule.bridges.local_end import LocalEnd
from noctule.config.limits import BRIDGE_WAITING_MAX_BYTES, BRIDGE_WAITING_MAX_MESSAGES
from noctule.protocol import Connack, PacketType, ProtocolVersion

_QOS: Final = 0x06


class Collection:
    """Is the session's connection until the bridge has another. Messages of QoS 1 and 2 it leaves unacknowledged, so
    that the session keeps them; of QoS 0 it keeps as many as there is room for."""

    def __init__(self, local: LocalSession, version: ProtocolVersion, threshold: int) -> None:
        self._local = local
        self._version = version
        self._threshold = threshold
        self._end = LocalEnd(self._take, trio.lowlevel.checkpoint)
        self._bytes = 0
        self._count = 0
        #: Messages of QoS 0, as first byte and body, in their order.
        self.kept: list[tuple[int, bytes]] = []
        #: Set when as many wait as were asked for.
        self.is_due = trio.Event()

    async def run(self) -> None:
        """Collect, until ``end``. SessionRefusedError where this broker ends the connection."""
        self._end.give(self._local.connect_packet(self._version, Connack(), None))
        await self._local.serve(self._end)
        if not self._end.has_ended:
            raise SessionRefusedError("this broker has ended the connection of the bridge")

    def end(self) -> None:
        """Give the session free for another connection."""
        self._end.end()

    def _take(self, first: int, body: bytes) -> None:
        if first >> 4 != PacketType.PUBLISH:
            return
        self._count += 1
        has_room = len(self.kept) < BRIDGE_WAITING_MAX_MESSAGES and self._bytes + len(body) <= BRIDGE_WAITING_MAX_BYTES
        if not first & _QOS and has_room:
            self._bytes += len(body)
            self.kept.append((first, body))
        if self._count >= self._threshold:
            self.is_due.set()
