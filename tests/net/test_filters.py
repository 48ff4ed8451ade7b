"""Filters: how much of the reactor's time handshakes get, what becomes of errors, and that nothing is left."""

import gc
import logging
import socket
import sys

import pytest
import trio
import trio.testing
from net.secured import Authority, WebSocketStream, open_tls, port_of
from net.stream_clients import LOOPBACK, V5, StreamClient, dial, run_mocked, running_broker
from noctule._speedups.link import Link
from noctule.config.settings import Carrier, ListenerSettings, Protocol
from noctule.net.filters import Layers
from noctule.net.gate import Visit
from noctule.net.tls import TlsFilter
from noctule.net.websocket import WebSocketFilter

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the reactor needs epoll")


def held() -> list[object]:
    """Everything that belongs to a connection with filters."""
    kinds = (Link, Layers, Visit, TlsFilter, WebSocketFilter)
    return [one for one in gc.get_objects() if isinstance(one, kinds)]


@pytest.mark.parametrize("carrier", Carrier, ids=lambda carrier: carrier.value)
def test_nothing_is_left_of_connections(carrier: Carrier, authority: Authority) -> None:
    """However they end, and without the cyclic collector."""

    async def main() -> None:
        async with running_broker(carrier, (authority.listener(Protocol.WEBSOCKET),)) as running:
            url = running.broker.urls[0]
            context = authority.context()
            gc.collect()
            gc.disable()
            try:
                for round_number in range(20):
                    plain = await trio.open_tcp_stream("127.0.0.1", port_of(url))
                    await plain.send_all(b"\x16\x03\x01")
                    secure = await open_tls(url, context)
                    await secure.send_all(b"GET / HTTP/1.1\r\n")
                    web = WebSocketStream(await open_tls(url, context))
                    await web.upgrade()
                    client = StreamClient(web, V5)
                    await client.connect()
                    if round_number % 3 == 0:
                        await client.send(b"\xe0\x00")
                        await client.until_end()
                    elif round_number % 3 == 1:
                        await web.close(1000)
                        await web.receive_some()
                    for stream in (plain, secure, web):
                        await trio.aclose_forcefully(stream)
                with trio.fail_after(5):
                    while running.broker.state.links:  # noqa: ASYNC110 (nothing tells when they have closed)
                        await trio.sleep(0.01)
                await trio.testing.wait_all_tasks_blocked()
                assert held() == []
            finally:
                gc.enable()

    run_mocked(main)


class EchoOfNothing:
    """A filter that takes everything and lets nothing through."""

    def __init__(self, counts: list[int]) -> None:
        self.counts = counts

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        self.counts[-1] += 1
        return b"", b"", None

    def to_send(self, data: bytes) -> bytes:
        return data

    def end(self) -> bytes:
        return b""


class FailingFilter(EchoOfNothing):
    """One with a bug in it."""

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        raise RuntimeError("a bug")

    def end(self) -> bytes:
        raise RuntimeError("another bug")


def test_handshakes_leave_others_their_time() -> None:
    """Many that have something to read: few of them in one round, all of them in the end."""
    from noctule._speedups.reactor import Reactor, SocketLink
    from noctule.app import Broker

    broker = Broker()
    state = broker.state
    reactor = Reactor(state.plane, lambda link: None)
    pairs = [socket.socketpair() for _ in range(30)]
    counts: list[int] = []
    for near, far in pairs:
        link = SocketLink(state.router, broker._dispatcher, "here")
        link.filter = YieldingFilter(counts, reactor)
        reactor.add(link, near.detach())
        state.links.add(link)
        far.send(b"x")
    for _ in range(4):
        counts.append(0)
        reactor.turn(0.0, False)
    assert counts == [8, 8, 8, 6]
    for link in list(state.links):
        link.close()
    reactor.close()
    state.plane.close()
    for _, far in pairs:
        far.close()


class YieldingFilter(EchoOfNothing):
    """One that ends the turn with its round."""

    def __init__(self, counts: list[int], reactor: object) -> None:
        super().__init__(counts)
        self._reactor = reactor

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        self._reactor.yield_soon = True  # type: ignore[attr-defined]
        return super().received(link, data)


@pytest.mark.parametrize("carrier", Carrier, ids=lambda carrier: carrier.value)
def test_a_bug_in_a_filter_ends_its_own_connection(
    carrier: Carrier, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        web = ListenerSettings("127.0.0.1", 0, protocol=Protocol.WEBSOCKET)
        async with running_broker(carrier, (LOOPBACK, web)) as running:
            other = await running.connect("other")
            monkeypatch.setattr("noctule.net.entrance.Entrance._filter_of", lambda entrance, visit: FailingFilter([0]))
            client = await dial(running.broker.urls[1])
            await client.send(b"x")
            assert await client.until_end() == []
            await other.ping()
            assert len(running.broker.state.links) == 1

    run_mocked(main)
    assert [record for record in caplog.records if record.levelno == logging.ERROR]
