"""Brokers of ours for tests of bridges: in this process, on a real port, or in memory on trio's mock clock."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
from noctule.app import Broker
from noctule.bridges import remote
from noctule.client import Client, connect, open_client
from noctule.client.errors import UnreachableError
from noctule.client.transports import Route
from noctule.config.bridges import BridgeSettings, BridgeTopic, Direction
from noctule.config.settings import Carrier, ListenerSettings, Settings
from noctule.protocol import Connect, ProtocolVersion

OUT = BridgeTopic("out/#", Direction.OUT, 2)
IN = BridgeTopic("in/#", Direction.IN, 2)


def bridge_to(*addresses: str, topics: tuple[BridgeTopic, ...] = (OUT, IN), **options: Any) -> BridgeSettings:
    """A bridge that is in no hurry to do anything but to connect again."""
    given = {"restart_delay_s": 0.05, "restart_delay_max_s": 0.05, "primary_retry_s": 0.1, **options}
    return BridgeSettings(
        options.pop("name", "b"), addresses, topics, **{k: v for k, v in given.items() if k != "name"}
    )


@asynccontextmanager
async def broker_with(*bridges: BridgeSettings, **options: Any) -> AsyncIterator[tuple[Broker, str]]:
    """A broker on a port of its own, with its URL."""
    listener = ListenerSettings("127.0.0.1", 0)
    broker = Broker(Settings((listener,), bridges=bridges, **options))
    async with trio.open_nursery() as nursery:
        urls: tuple[str, ...] = await nursery.start(broker.run)
        yield broker, urls[0]
        broker.stop()


class Memory:
    """Brokers in memory by the host name that bridges know them by; a way to one can be cut, or closed."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.brokers: dict[str, Broker] = {}
        #: Hosts that cannot be reached.
        self.closed: set[str] = set()
        #: The streams that lead to a host now.
        self.open: dict[str, list[trio.abc.Stream]] = {}
        #: How often each host was tried.
        self.tries: list[str] = []
        #: When, on the clock.
        self.tried_at: list[float] = []

    async def start(self, host: str, *bridges: BridgeSettings, **options: Any) -> Broker:
        """A broker of this name, ready."""
        broker = Broker(
            Settings((ListenerSettings("127.0.0.1", 0),), carrier=Carrier.STREAMS, bridges=bridges, **options)
        )
        self.brokers[host] = broker
        await self._nursery.start(broker.run)
        return broker

    def stream_to(self, host: str) -> trio.abc.Stream:
        """A connection to the broker of this name."""
        near, far = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.brokers[host].serve_stream, far, "memory")
        self.open.setdefault(host, []).append(near)
        return near

    async def open_stream(self, route: Route, _nursery: trio.Nursery) -> trio.abc.Stream:
        """In place of ``client.transports.open_stream``."""
        await trio.lowlevel.checkpoint()
        host = route.address.host
        self.tries.append(host)
        self.tried_at.append(trio.current_time())
        if host in self.closed or host not in self.brokers:
            raise UnreachableError(f"{route.address} cannot be reached: Connection refused")
        return self.stream_to(host)

    async def cut(self, host: str) -> None:
        """Break every connection to a host."""
        for stream in self.open.pop(host, []):
            await trio.aclose_forcefully(stream)

    @asynccontextmanager
    async def client(self, host: str, client_id: str = "", **options: Any) -> AsyncIterator[Client]:
        """A client of the broker of this name."""
        near, far = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self.brokers[host].serve_stream, far, "memory")
        async with open_client(near, Connect(ProtocolVersion.V5, client_id, **options)) as client:
            yield client


def in_memory(monkeypatch: pytest.MonkeyPatch, test: Callable[[Memory], Awaitable[None]]) -> None:
    """Run a test with brokers in memory, on the mock clock."""

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            memory = Memory(nursery)
            monkeypatch.setattr(remote, "open_stream", memory.open_stream)
            with trio.fail_after(100_000):  # on a clock that jumps there when nothing is left to do
                await test(memory)
            for broker in memory.brokers.values():
                broker.stop()

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


async def connected(broker: Broker, name: str = "b") -> None:
    """Return when the bridge is connected; the times are those of the mock clock."""
    with trio.fail_after(100):
        while not broker.bridges.connected[name]:  # noqa: ASYNC110
            await trio.sleep(0.01)


__all__ = ["IN", "OUT", "Memory", "bridge_to", "broker_with", "connect", "connected", "in_memory"]
