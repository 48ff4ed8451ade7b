"""Connections over any trio stream: what happens when the stream itself misbehaves."""

import logging
from collections.abc import Callable

import pytest
import trio
import trio.testing
from net.secured import Authority
from net.stream_clients import V5, StreamClient, run_mocked, running_broker
from noctule._speedups.link import Link
from noctule.config.settings import ListenerSettings
from noctule.core.origin import Origin
from noctule.net.tls_contexts import TlsServer
from noctule.protocol import Connect, Will, encode_connect


class OneWayStream(trio.abc.Stream):
    """A stream that cannot be half closed (as TLS and WebSocket cannot), over one in memory."""

    def __init__(self, inner: trio.abc.Stream) -> None:
        self.inner = inner

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


class BrokenStream(OneWayStream):
    """One whose ``send_all`` breaks from a certain call on."""

    def __init__(self, inner: trio.abc.Stream, sends: int) -> None:
        super().__init__(inner)
        self.sends = sends

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sends -= 1
        if self.sends < 0:
            raise trio.BrokenResourceError("broken pipe")
        await super().send_all(data)


def test_a_stream_that_cannot_be_half_closed_is_closed_behind_the_last_packet() -> None:
    async def main() -> None:
        async with running_broker() as running, trio.open_nursery() as nursery:
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(running.broker.serve_stream, OneWayStream(far), "memory:1")
            client = StreamClient(near)
            await client.connect()
            await client.send(b"\x00\x00")
            assert [first for first, _ in await client.until_end()] == [0xE0]
            assert not running.broker.state.links

    run_mocked(main)


@pytest.mark.parametrize("sends", [0, 1])
def test_a_stream_that_breaks_while_sending_is_a_lost_connection(sends: int) -> None:
    async def main() -> None:
        async with running_broker() as running, trio.open_nursery() as nursery:
            watching = await running.connect("watching")
            await watching.subscribe("w")
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(running.broker.serve_stream, BrokenStream(far, sends), "memory:1")
            await near.send_all(encode_connect(Connect(V5, "c", will=Will("w", b"gone"))) + b"\xc0\x00")
            if sends:
                await trio.testing.wait_all_tasks_blocked()
                await near.send_all(b"\xc0\x00")
            assert (await watching.receive_publish()).payload == b"gone"
            await trio.testing.wait_all_tasks_blocked()
            assert len(running.broker.state.links) == 1

    run_mocked(main)


def test_a_cancelled_connection_is_a_lost_one() -> None:
    async def main() -> None:
        async with running_broker() as running:
            watching = await running.connect("watching")
            await watching.subscribe("w")
            near, far = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.broker.serve_stream, far, "memory:1")
                client = StreamClient(near)
                await client.connect("c", will=Will("w", b"gone"))
                nursery.cancel_scope.cancel()
            assert (await watching.receive_publish()).payload == b"gone"
            assert len(running.broker.state.links) == 1
            assert await near.receive_some() == b""

    run_mocked(main)


def test_a_stream_is_closed_when_the_broker_has_done_with_it() -> None:
    async def main() -> None:
        async with running_broker() as running, trio.open_nursery() as nursery:
            near, far = trio.testing.memory_stream_pair()
            nursery.start_soon(running.broker.serve_stream, far, "memory:1")
            client = StreamClient(near)
            await client.connect()
            await client.send(b"\xe0\x00")
            await trio.testing.wait_all_tasks_blocked()
            await near.aclose()
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.ClosedResourceError):
                await far.receive_some()

    run_mocked(main)


def test_an_error_of_ours_ends_its_own_connection_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    handler: Callable[..., None] = fail
    monkeypatch.setattr("noctule.handlers.dispatch.handle_subscribe", handler)

    async def main() -> None:
        async with running_broker() as running:
            other = await running.connect("other")
            client = await running.connect("c")
            await client.send(b"\x82\x07\x00\x01\x00\x00\x01t\x04")
            assert await client.until_end() == []
            await other.ping()
            (link,) = running.broker.state.links
            assert isinstance(link, Link)

    run_mocked(main)
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


def test_a_link_that_is_closed_lets_go_of_a_peer_that_takes_nothing() -> None:
    """Its writer waits within ``send_all``, where no event of the link's reaches it."""

    class StalledStream(OneWayStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            if len(data) > 1_000:
                await trio.sleep_forever()
            await super().send_all(data)

    async def main() -> None:
        async with running_broker() as running:
            near, far = trio.testing.memory_stream_pair()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.broker.serve_stream, StalledStream(far), "memory:1")
                stalled = StreamClient(near)
                await stalled.connect("stalled")
                await stalled.subscribe("t")
                publisher = await running.connect("p")
                await publisher.publish("t", bytes(2_000))
                await publisher.ping()
                with trio.fail_after(5):  # the deadline of a connection that ends is two seconds
                    await running.connect("stalled")
                    assert await near.receive_some() == b""

    run_mocked(main)


def test_what_a_filter_answers_is_sent_before_what_it_encodes_later(authority: Authority) -> None:
    """Records of TLS are numbered: also where sending takes so long that both come up meanwhile."""

    class SlowStream(OneWayStream):
        async def send_all(self, data: bytes | bytearray | memoryview) -> None:
            await super().send_all(data)
            await trio.sleep(1)

    async def main() -> None:
        server = TlsServer(authority.settings(), alpn="mqtt")
        async with running_broker() as running, trio.open_nursery() as nursery:
            near, far = trio.testing.memory_stream_pair()
            passing = server.make_filter(lambda: None)
            nursery.start_soon(
                running.broker._streams.serve, SlowStream(far), "memory:1", Origin(ListenerSettings()), passing
            )
            client = StreamClient(trio.SSLStream(near, authority.context(), server_hostname="localhost"))
            await client.connect()
            await client.subscribe("t")
            for number in range(5):
                await client.publish("t", b"%d" % number, 1)
                await client.send(b"\xc0\x00")
            found = sorted([(await client.receive())[0] for _ in range(15)])
            assert found == [0x30] * 5 + [0x40] * 5 + [0xD0] * 5
            await trio.aclose_forcefully(near)

    run_mocked(main)
