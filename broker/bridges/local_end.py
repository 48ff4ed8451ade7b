"""The stream between a bridge and the broker that it belongs to, in memory: to the broker the bridge is a client."""

from collections.abc import Awaitable, Callable

import trio
from noctule._speedups.codec import FrameScanner


class LocalEnd(trio.abc.Stream):
    """What the broker reads is what was ``give``n; what it sends goes to ``take``, packet by packet."""

    def __init__(self, take: Callable[[int, bytes], None], until_room: Callable[[], Awaitable[None]]) -> None:
        """``take`` gets first byte and body of each packet, ``until_room`` returns when the broker may send more."""
        self._take = take
        self._until_room = until_room
        self._scanner = FrameScanner()
        self._given = bytearray()
        #: Whether the bridge has ended the connection.
        self.has_ended = False
        self._change = trio.Event()
        self._taken = trio.Event()
        #: Set when the broker has closed the connection.
        self.closed = trio.Event()

    @property
    def waiting_bytes(self) -> int:
        """What the broker has yet to read."""
        return len(self._given)

    def give(self, data: bytes) -> None:
        """Have the broker read this."""
        if data:
            self._given += data
            self._change.set()

    def end(self) -> None:
        """Nothing more will come: the connection is lost, to the broker."""
        self.has_ended = True
        self._change.set()

    async def until_taken(self) -> None:
        """Return when the broker has read something, or has closed the connection."""
        if self.closed.is_set():
            await trio.lowlevel.checkpoint()
            return
        self._taken = trio.Event()
        await self._taken.wait()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """What has been given; empty at the end."""
        await trio.lowlevel.checkpoint()
        while not self._given and not self.has_ended:
            self._change = trio.Event()
            await self._change.wait()
        if self.has_ended:
            return b""
        most = len(self._given) if max_bytes is None else max_bytes
        data = bytes(self._given[:most])
        del self._given[:most]
        self._taken.set()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Hand on the packets of the broker's; BrokenResourceError when the bridge has ended."""
        if self.has_ended:
            raise trio.BrokenResourceError("the bridge has lost the other broker")
        for first, body in self._scanner.feed(data):
            self._take(first, body)
        await self._until_room()

    async def wait_send_all_might_not_block(self) -> None:
        """As a stream has it."""
        await self._until_room()

    async def aclose(self) -> None:
        """The broker closes the connection."""
        self.closed.set()
        self._taken.set()
        await trio.lowlevel.checkpoint()
