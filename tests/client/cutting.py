"""A network that breaks where the test says: after so many bytes in one direction both directions are gone."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trio
import trio.testing
from net.stream_clients import LOOPBACK
from noctule.app import Broker
from noctule.client import opening
from noctule.client.transports import Route
from noctule.config.settings import Carrier, Settings

TO_SERVER, TO_CLIENT = "to the server", "to the client"


@dataclass
class Network:
    """Counts the bytes that pass; the first direction that has none left to pass breaks the connection."""

    passed: dict[str, int] = field(default_factory=lambda: {TO_SERVER: 0, TO_CLIENT: 0})
    left: dict[str, int | None] = field(default_factory=lambda: {TO_SERVER: None, TO_CLIENT: None})
    cuts: int = 0
    #: Called at each cut: says what the next connection may pass.
    when_cut: Callable[["Network"], None] = lambda network: network.mend()

    def cut_after(self, direction: str, count: int) -> None:
        """Break the connection when so many bytes more have passed."""
        self.left[direction] = count

    def mend(self) -> None:
        """The next connection is sound."""
        self.left = {TO_SERVER: None, TO_CLIENT: None}

    def pass_through(self, direction: str, data: bytes) -> tuple[bytes, bool]:
        """What goes through, and whether it is the last."""
        left = self.left[direction]
        if left is not None and len(data) > left:
            data = data[:left]
            self.passed[direction] += len(data)
            self.cuts += 1
            self.when_cut(self)
            return data, True
        self.passed[direction] += len(data)
        if left is not None:
            self.left[direction] = left - len(data)
        return data, False


async def carry(network: Network, near: trio.abc.Stream, far: trio.abc.Stream) -> None:
    """Carry bytes between the two until the network breaks or either side closes."""
    async with trio.open_nursery() as nursery:

        async def pump(direction: str, source: trio.abc.Stream, target: trio.abc.Stream) -> None:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while data := await source.receive_some():
                    part, is_last = network.pass_through(direction, bytes(data))
                    if part:
                        await target.send_all(part)
                    if is_last:
                        break
            nursery.cancel_scope.cancel()

        nursery.start_soon(pump, TO_SERVER, near, far)
        nursery.start_soon(pump, TO_CLIENT, far, near)
    for stream in (near, far):
        await trio.aclose_forcefully(stream)


@asynccontextmanager
async def broker_behind(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Broker, Network]]:
    """A broker in memory. ``connect("mqtt://cut")`` goes through the network, any other host past it."""
    broker = Broker(Settings((LOOPBACK,), carrier=Carrier.STREAMS))
    network = Network()
    async with trio.open_nursery() as nursery:

        async def open_stream(route: Route, _nursery: trio.Nursery) -> trio.abc.Stream:
            await trio.lowlevel.checkpoint()
            client_end, other_end = trio.testing.memory_stream_pair()
            if route.address.host != "cut":
                nursery.start_soon(broker.serve_stream, other_end, "memory")
                return client_end
            network_end, server_end = trio.testing.memory_stream_pair()
            nursery.start_soon(carry, network, other_end, network_end)
            nursery.start_soon(broker.serve_stream, server_end, "memory")
            return client_end

        monkeypatch.setattr(opening, "open_stream", open_stream)
        await nursery.start(broker.run)
        yield broker, network
        broker.stop()
        nursery.cancel_scope.cancel()
