"""The other end of a client under test: a server that does what the test says, over streams in memory and mock time."""

import contextlib
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
import trio.testing
from noctule._speedups.codec import FrameScanner
from noctule.client import Client, open_client
from noctule.protocol import Connack, Connect, ProtocolVersion, encode_connack


def on_mock_clock(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Make a test of an async function; time stands still but for jumps to the next deadline."""

    @functools.wraps(test)
    def run(**arguments: Any) -> None:
        async def bounded() -> None:
            with trio.fail_after(1_000_000):  # of mock time: a test that hangs has nothing else to wait for
                await test(**arguments)

        trio.run(bounded, clock=trio.testing.MockClock(autojump_threshold=0))

    return run


class ScriptedServer:
    """Reads whole packets, and writes whatever it is told to."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._scanner = FrameScanner()
        self._packets: list[bytes] = []

    async def packet(self) -> bytes:
        """The next packet, whole; empty at the end of the stream. All are shorter than 128 bytes here."""
        while not self._packets:
            data = await self.stream.receive_some()
            if not data:
                return b""
            self._packets = [bytes((first, len(body))) + body for first, body in self._scanner.feed(data)]
        return self._packets.pop(0)

    async def expect(self, *packets: bytes) -> None:
        """The next packets are these, byte by byte."""
        for packet in packets:
            assert await self.packet() == packet

    async def expect_silence(self) -> None:
        """Nothing comes until everybody has nothing left to do."""
        received: list[bytes] = []
        with trio.move_on_after(0.001):
            received.append(await self.packet())
        assert received == []

    async def send(self, *packets: bytes) -> None:
        await self.stream.send_all(b"".join(packets))

    async def close(self) -> None:
        await self.stream.aclose()


@asynccontextmanager
async def connected(
    version: int = 5,
    *,
    connack: Connack | None = None,
    timeout_s: float = 10,
    streams: Callable[[], tuple[Any, Any]] = trio.testing.memory_stream_pair,
    leave_politely: bool = True,
    **options: Any,
) -> AsyncIterator[tuple[Client, ScriptedServer]]:
    """A client whose CONNECT was accepted, and its server.

    The server closes as soon as the client has said DISCONNECT, as servers do, unless ``leave_politely`` is not set.
    """
    near, far = streams()
    server = ScriptedServer(far)
    request = Connect(ProtocolVersion(version), "c", **options)
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            await server.packet()
            await server.send(encode_connack(connack or Connack(), version))

        nursery.start_soon(accept)
        async with open_client(near, request, timeout_s=timeout_s) as client:
            yield client, server
            if leave_politely:
                nursery.start_soon(_close_after_disconnect, server)


async def _close_after_disconnect(server: ScriptedServer) -> None:
    with contextlib.suppress(trio.ClosedResourceError):  # the test has closed it itself
        while packet := await server.packet():
            if packet[0] == 0xE0:
                break
    await server.close()
