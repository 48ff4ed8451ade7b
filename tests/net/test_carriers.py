"""The whole broker over each way to carry bytes: streams in memory, the epoll reactor, a trio task per socket."""

import logging
import struct
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
from net.stream_clients import (
    PINGREQ,
    PINGRESP,
    V3_1,
    V3_1_1,
    V5,
    RunningBroker,
    StreamClient,
    run_mocked,
    running_broker,
)
from noctule._speedups.codec import encode_ack, encode_publish
from noctule.config.settings import Carrier
from noctule.protocol import Connect, ProtocolVersion, Will, decode_disconnect, encode_connect

CARRIERS: list[Carrier | None] = [None, Carrier.STREAMS]
if sys.platform.startswith("linux"):
    CARRIERS.append(Carrier.REACTOR)

every_carrier = pytest.mark.parametrize(
    "carrier", CARRIERS, ids=lambda carrier: "memory" if carrier is None else carrier.value
)
over_sockets = pytest.mark.parametrize("carrier", CARRIERS[1:], ids=lambda carrier: carrier.value)
every_version = pytest.mark.parametrize("version", ProtocolVersion, ids=["3.1", "3.1.1", "5"])

Body = Callable[[RunningBroker], Awaitable[None]]


def serve(carrier: Carrier | None, body: Body, **limits: object) -> None:
    async def main() -> None:
        async with running_broker(carrier, **limits) as running:
            await body(running)

    run_mocked(main)


def reason_of(packets: list[tuple[int, bytes]]) -> int:
    """The reason code of the one DISCONNECT that came."""
    ((first, body),) = packets
    return decode_disconnect(body, V5, first, from_server=True).reason_code


@every_version
@every_carrier
def test_messages_of_each_qos(carrier: Carrier | None, version: ProtocolVersion) -> None:
    async def body(running: RunningBroker) -> None:
        subscriber = await running.connect("s", version)
        await subscriber.subscribe("t/#", 2)
        publisher = await running.connect("p", version)
        await publisher.publish("t/0", b"zero")
        await publisher.publish("t/1", b"one", 1, 11)
        await publisher.publish("t/2", b"two", 2, 22)
        assert [(await publisher.receive())[0] for _ in range(2)] == [0x40, 0x50]
        await publisher.send(encode_ack(6, 22, version))
        assert (await publisher.receive())[0] == 0x70
        found = [await subscriber.receive_publish() for _ in range(3)]
        assert [(one.topic, one.payload, one.qos) for one in found] == [
            (b"t/0", b"zero", 0),
            (b"t/1", b"one", 1),
            (b"t/2", b"two", 2),
        ]
        await subscriber.send(encode_ack(4, found[1].packet_id, version), encode_ack(5, found[2].packet_id, version))
        assert (await subscriber.receive())[0] == 0x62
        await subscriber.send(encode_ack(7, found[2].packet_id, version))
        await subscriber.ping()
        session = running.broker.state.sessions.find("s")
        assert session is not None
        assert session.unacknowledged == 0

    serve(carrier, body)


@every_carrier
def test_byte_by_byte(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        client = await running.open(V3_1_1)
        stream = encode_connect(Connect(V3_1_1, "c")) + encode_publish(b"t", b"x", 4, 1, packet_id=5) + PINGREQ
        for byte in stream:
            await client.send(bytes((byte,)))
            await trio.testing.wait_all_tasks_blocked()
        assert [await client.receive() for _ in range(3)] == [(0x20, b"\0\0"), (0x40, b"\0\x05"), PINGRESP]

    serve(carrier, body)


@every_carrier
def test_a_message_of_two_megabytes(carrier: Carrier | None) -> None:
    payload = bytes(range(256)) * 7_800

    async def body(running: RunningBroker) -> None:
        subscriber = await running.connect("s")
        await subscriber.subscribe("t", 1)
        publisher = await running.connect("p")
        for qos in (0, 1):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.publish, "t", payload, qos)
                assert (await subscriber.receive_publish()).payload == payload

    serve(carrier, body)


@every_carrier
def test_a_backlog_larger_than_the_write_buffer_arrives_in_order(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        client = await running.connect("s", session_expiry_interval_s=100)
        await client.subscribe("t", 1)
        await client.send(b"\xe0\x00")
        assert await client.until_end() == []
        publisher = await running.connect("p")
        for i in range(200):
            await publisher.publish("t", b"%04d" % i + bytes(5_000), 1, 1)
            assert (await publisher.receive())[0] == 0x40
        client = await running.connect("s", clean_start=False, session_expiry_interval_s=100)
        for i in range(200):
            found = await client.receive_publish()
            assert int(found.payload[:4]) == i
            await client.send(encode_ack(4, found.packet_id, V5))

    serve(carrier, body, inflight_max=50, write_max_bytes=65_536)


@pytest.mark.parametrize(("readers", "size", "messages"), [(1, 50_000, 400), (5, 12_000, 900)])
@every_carrier
def test_a_reader_that_stalls_holds_up_nobody_and_loses_qos_0_alone(
    carrier: Carrier | None, readers: int, size: int, messages: int
) -> None:
    """[MQTT-3.3.4-8], R2. What many are to get is in one place for all of them, until one has not taken it all."""

    async def body(running: RunningBroker) -> None:
        stalled = await running.connect("stalled")
        await stalled.subscribe("t", 1)
        all_quick = [await running.connect(f"quick {number}") for number in range(readers)]
        for quick in all_quick:
            await quick.subscribe("t", 0)
        publisher = await running.connect("p")
        for number in range(messages):  # more than the system's own buffers hold
            payload = b"%06d" % number + bytes(size - 6)
            await publisher.publish("t", payload)
            for quick in all_quick:
                assert (await quick.receive_publish()).payload == payload
        await publisher.publish("t", b"last", 1)
        assert (await publisher.receive())[0] == 0x40
        for quick in all_quick:
            assert (await quick.receive_publish()).payload == b"last"
        counts = running.broker.state.plane.counts
        session = running.broker.state.sessions.find("stalled")
        assert session is not None
        assert session.outlet is not None
        if carrier is not None:  # a stream in memory takes whatever it is given
            assert counts["dropped_slow_reader"] > 0
            assert session.outlet.pending_bytes <= 65_536 + 50_100
        numbers = []
        while (payload := (await stalled.receive_publish()).payload) != b"last":
            assert payload[6:] == bytes(size - 6)
            numbers.append(int(payload[:6]))
        assert numbers == sorted(set(numbers))
        assert len(numbers) == messages - counts["dropped_slow_reader"]

    serve(carrier, body, write_max_bytes=65_536)


@over_sockets
def test_a_client_that_reads_no_answers_is_read_no_further(carrier: Carrier) -> None:
    """R18: its PINGREQs wait in its own socket, not in our memory."""

    async def body(running: RunningBroker) -> None:
        client = await running.connect()
        (link,) = running.broker.state.links
        with trio.move_on_after(5):
            while True:
                await client.send(PINGREQ * 65_536)
        assert 0 < link.pending_bytes <= 2 * 65_536 + 2 * 131_072
        other = await running.connect("other")
        await other.ping()
        # And it goes on where it had stopped, once the client reads.
        before = running.broker.state.plane.counts["packets_received"][12]
        while running.broker.state.plane.counts["packets_received"][12] == before:
            assert set(await client.stream.receive_some(65_536)) == {0xD0, 0x00}

    serve(carrier, body, write_max_bytes=65_536)


@every_carrier
def test_a_malformed_packet_ends_its_own_connection_alone(
    carrier: Carrier | None, caplog: pytest.LogCaptureFixture
) -> None:
    async def body(running: RunningBroker) -> None:
        other = await running.connect("other")
        await other.subscribe("t")
        for version, garbage in [
            (V5, b"\x00\x00"),
            (V3_1_1, b"\x36\x05\x00\x01t\x00\x01"),
            (V3_1, b"\x30\xff\xff\xff\xff"),
        ]:
            client = await running.connect("c", version)
            await client.send(
                encode_publish(b"t", b"before", version), garbage, encode_publish(b"t", b"behind", version)
            )
            packets = await client.until_end()
            assert [first for first, _ in packets] == ([0xE0] if version == 5 else [])
            assert (await other.receive_publish()).payload == b"before"
        client = await running.open()
        await client.send(PINGREQ)
        assert await client.until_end() == []
        await other.ping()
        assert len(running.broker.state.links) == 1

    serve(carrier, body)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@every_carrier
def test_a_refused_client_reads_why_and_then_the_end(carrier: Carrier | None) -> None:
    """R4"""

    async def body(running: RunningBroker) -> None:
        client = await running.open()
        await client.send(encode_connect(Connect(V5, "c", authentication_method="x")), PINGREQ)
        assert [first for first, _ in await client.until_end()] == [0x20]
        client = await running.open()
        await client.send(b"\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01c")
        assert [first for first, _ in await client.until_end()] == [0x20]
        await running.connect("c")
        assert len(running.broker.state.links) == 1

    serve(carrier, body)


@every_carrier
def test_a_takeover(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        old = await running.connect("c")
        new = await running.connect("c", V3_1_1)
        assert reason_of(await old.until_end()) == 0x8E
        await new.ping()
        last = await running.connect("c")
        assert await new.until_end() == []
        await last.ping()

    serve(carrier, body)


@pytest.mark.parametrize("way", ["close", "half close", "reset"])
@every_carrier
def test_a_client_that_goes_without_disconnect_leaves_its_will(carrier: Carrier | None, way: str) -> None:
    async def body(running: RunningBroker) -> None:
        watching = await running.connect("watching")
        await watching.subscribe("w")
        client = await running.connect("c", will=Will("w", b"gone"))
        stream = client.stream
        if way == "half close":
            assert isinstance(stream, trio.abc.HalfCloseableStream)
            await stream.send_eof()
        else:
            if way == "reset" and isinstance(stream, trio.SocketStream):
                stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
            await trio.aclose_forcefully(stream)
        assert (await watching.receive_publish()).payload == b"gone"
        if way == "half close":
            assert await client.until_end() == []
        assert len(running.broker.state.links) == 1

    serve(carrier, body)


@every_carrier
def test_keep_alive(carrier: Carrier | None) -> None:
    """[MQTT-3.1.2-22]"""

    async def body(running: RunningBroker) -> None:
        client = await running.connect(keep_alive_s=10)
        await trio.sleep(14.9)
        await client.ping()
        start = trio.current_time()
        assert reason_of(await client.until_end()) == 0x8D
        assert trio.current_time() - start == pytest.approx(15, abs=0.05)

    serve(carrier, body)


@every_carrier
def test_a_connection_that_says_nothing_is_closed_in_time(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        start = trio.current_time()
        client = await running.open()
        await client.send(encode_connect(Connect(V5, "c"))[:-1])
        assert await client.until_end() == []
        assert trio.current_time() - start == pytest.approx(10, abs=0.05)

    serve(carrier, body, connect_timeout_s=10)


@every_carrier
def test_wills_and_sessions_end_in_time(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        watching = await running.connect("watching")
        await watching.subscribe("w")
        client = await running.connect("c", will=Will("w", b"gone", 0, False, 20), session_expiry_interval_s=50)
        start = trio.current_time()
        await client.stream.aclose()
        with trio.move_on_after(25):
            assert (await watching.receive_publish()).payload == b"gone"
            assert trio.current_time() - start == pytest.approx(20, abs=0.05)
        sessions = running.broker.state.sessions
        assert sessions.find("c") is not None
        await trio.sleep_until(start + 49.9)
        assert sessions.find("c") is not None
        await trio.sleep_until(start + 50.1)
        assert sessions.find("c") is None

    serve(carrier, body)


@every_carrier
def test_a_client_that_does_not_close_is_closed_in_time(carrier: Carrier | None) -> None:
    async def body(running: RunningBroker) -> None:
        client = await running.connect("c")
        await client.send(b"\x00\x00")
        assert (await client.receive())[0] == 0xE0
        start = trio.current_time()
        assert len(running.broker.state.links) == 1
        gone = trio.Event()
        running.broker.state.when_no_links = gone.set
        await gone.wait()
        assert trio.current_time() - start == pytest.approx(2, abs=0.05)

    serve(carrier, body, end_timeout_s=2.0)


@every_carrier
def test_stopping_tells_everybody(carrier: Carrier | None) -> None:
    ended: list[list[tuple[int, bytes]]] = []

    async def read(client: StreamClient) -> None:
        ended.append(await client.until_end())

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            async with running_broker(carrier) as running:
                clients = [await running.connect(f"c{version}", version) for version in ProtocolVersion]
                clients.append(await running.open())
                for client in clients:
                    nursery.start_soon(read, client)
                start = trio.current_time()
            assert trio.current_time() - start < 1.0  # everybody has closed at once
        assert sorted(ended) == [[], [], [], [(0xE0, b"\x8b")]]

    run_mocked(main)


@every_carrier
def test_stopping_does_not_wait_for_a_client_that_does_not_read(carrier: Carrier | None) -> None:
    async def main() -> None:
        async with running_broker(carrier, end_timeout_s=2.0, stop_timeout_s=5.0) as running:
            stalled = await running.connect("stalled")
            await stalled.subscribe("t")
            publisher = await running.connect("p")
            for _ in range(100):
                await publisher.publish("t", bytes(100_000))
            await publisher.ping()
            start = trio.current_time()
        assert trio.current_time() - start <= 5.5
        await stalled.stream.aclose()
        await publisher.stream.aclose()

    run_mocked(main)
