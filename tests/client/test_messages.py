"""Publishing, subscribing and receiving: what goes over the wire, who waits for what, and where waiting ends."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing
from client.scripted_server import connected, on_mock_clock
from noctule.client import (
    Client,
    DisconnectedError,
    Message,
    NoAnswerError,
    PublishRefusedError,
    UnsupportedByServerError,
)
from noctule.client.connection import OUTPUT_LIMIT_BYTES
from noctule.client.mailbox import MESSAGE_BUFFER
from noctule.protocol import Connack, ReasonCode, SubscriptionRequest

PINGREQ = b"\xc0\x00"


class Outcome:
    """What became of a call that runs beside the test."""

    def __init__(self) -> None:
        self.value: object = None
        self.error: Exception | None = None
        self.is_there = False


@asynccontextmanager
async def beside(call: object) -> AsyncIterator[Outcome]:
    """Run a coroutine beside the block; it has ended when the block has."""
    outcome = Outcome()

    async def run() -> None:
        try:
            outcome.value = await call  # type: ignore[misc]
        except Exception as error:
            outcome.error = error
        outcome.is_there = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        yield outcome


# publish


@pytest.mark.parametrize(
    ("version", "wire"),
    [(3, b"\x31\x05\x00\x01tab"), (4, b"\x31\x05\x00\x01tab"), (5, b"\x31\x06\x00\x01t\x00ab")],
)
@on_mock_clock
async def test_qos_0(version: int, wire: bytes) -> None:
    async with connected(version) as (client, server):
        assert await client.publish("t", b"ab", retain=True) == ReasonCode.SUCCESS
        await server.expect(wire)


@on_mock_clock
async def test_every_property() -> None:
    async with connected() as (client, server):
        await client.publish(
            "t",
            b"x",
            payload_is_text=True,
            message_expiry_interval_s=60,
            content_type="c",
            response_topic="r",
            correlation_data=b"\x00",
            user_properties=[("b", "1"), ("a", "2")],
        )
        await server.expect(
            b"\x30\x26\x00\x01t\x21"  # 38 bytes, topic name, property length 33
            b"\x01\x01\x02\x00\x00\x00\x3c\x03\x00\x01c\x08\x00\x01r\x09\x00\x01\x00"
            b"\x26\x00\x01b\x00\x011\x26\x00\x01a\x00\x012x"
        )


@on_mock_clock
async def test_properties_are_left_out_below_version_5() -> None:
    async with connected(4) as (client, server):
        await client.publish("t", b"x", content_type="c", user_properties=[("a", "b")])
        await server.expect(b"\x30\x04\x00\x01tx")


@pytest.mark.parametrize(("answer", "reason_code"), [(b"\x40\x02\x00\x01", 0x00), (b"\x40\x03\x00\x01\x10", 0x10)])
@on_mock_clock
async def test_qos_1_waits_for_puback(answer: bytes, reason_code: int) -> None:
    async with connected() as (client, server), beside(client.publish("t", b"x", 1)) as outcome:
        await server.expect(b"\x32\x07\x00\x01t\x00\x01\x00x")
        assert not outcome.is_there
        await server.send(answer)
        await trio.testing.wait_all_tasks_blocked()
        assert (outcome.value, outcome.error) == (reason_code, None)


@on_mock_clock
async def test_qos_2_waits_for_pubcomp() -> None:
    async with connected(4) as (client, server), beside(client.publish("t", b"x", 2)) as outcome:
        await server.expect(b"\x34\x06\x00\x01t\x00\x01x")
        await server.send(b"\x50\x02\x00\x01")
        await server.expect(b"\x62\x02\x00\x01")
        assert not outcome.is_there
        await server.send(b"\x70\x02\x00\x01")
        await trio.testing.wait_all_tasks_blocked()
        assert (outcome.value, outcome.error) == (0, None)


@pytest.mark.parametrize(("qos", "first"), [(1, 0x40), (2, 0x50)])
@on_mock_clock
async def test_a_message_that_is_refused(qos: int, first: int) -> None:
    async with connected() as (client, server):
        async with beside(client.publish("t", b"x", qos)) as outcome:
            await server.packet()
            await server.send(bytes((first,)) + b"\x09\x00\x01\x87\x05\x1f\x00\x02no")
        assert isinstance(outcome.error, PublishRefusedError)
        assert (outcome.error.reason_code, outcome.error.reason_string) == (0x87, "no")
        async with beside(client.publish("t", b"x", 1)) as outcome:  # the next one goes its way
            await server.expect(b"\x32\x07\x00\x01t\x00\x02\x00x")
            await server.send(b"\x40\x02\x00\x02")
        assert outcome.error is None


@pytest.mark.parametrize("qos", [1, 2])
@on_mock_clock
async def test_no_acknowledgement_in_time(qos: int) -> None:
    async with connected(timeout_s=10) as (client, server):
        began_at = trio.current_time()
        with pytest.raises(NoAnswerError):
            await client.publish("t", b"x", qos)
        assert trio.current_time() - began_at == pytest.approx(10)
        await server.packet()


@on_mock_clock
async def test_a_connection_lost_between_pubrec_and_pubcomp_is_no_success() -> None:
    async with connected() as (client, server):
        async with beside(client.publish("t", b"x", 2)) as outcome:
            await server.packet()
            await server.send(b"\x50\x02\x00\x01")
            await server.packet()
            await server.close()
        assert isinstance(outcome.error, DisconnectedError)


@on_mock_clock
async def test_cancelled_it_leaves_the_connection_sound_and_its_identifier_in_use() -> None:
    async with connected(4) as (client, server):
        with trio.move_on_after(1):
            await client.publish("t", b"x", 1)
        await server.expect(b"\x32\x06\x00\x01t\x00\x01x")
        async with beside(client.publish("t", b"y", 1)) as outcome:
            await server.expect(b"\x32\x06\x00\x01t\x00\x02y")
            await server.send(b"\x40\x02\x00\x01", b"\x40\x02\x00\x02")
        assert (outcome.value, outcome.error) == (0, None)


@on_mock_clock
async def test_no_more_than_the_server_takes_at_once() -> None:
    """Receive Maximum is 2: the third message waits for an acknowledgement [MQTT-3.3.4-7]."""
    async with connected(connack=Connack(receive_maximum=2)) as (client, server), trio.open_nursery() as nursery:
        for payload in (b"1", b"2", b"3"):
            nursery.start_soon(client.publish, "t", payload, 1)
            await trio.testing.wait_all_tasks_blocked()
        await server.expect(b"\x32\x07\x00\x01t\x00\x01\x001", b"\x32\x07\x00\x01t\x00\x02\x002")
        await server.expect_silence()
        await client.publish("t", b"0")  # QoS 0 has no quota
        await server.expect(b"\x30\x05\x00\x01t\x000")
        await server.send(b"\x40\x02\x00\x02")
        await server.expect(b"\x32\x07\x00\x01t\x00\x03\x003")
        nursery.start_soon(client.publish, "t", b"4", 1)
        await server.expect_silence()  # one acknowledgement, one message
        await server.send(b"\x40\x02\x00\x01", b"\x40\x02\x00\x03")
        await server.expect(b"\x32\x07\x00\x01t\x00\x04\x004")
        await server.send(b"\x40\x02\x00\x04")


@on_mock_clock
async def test_what_the_server_cannot_do_is_not_sent() -> None:
    connack = Connack(maximum_qos=1, retain_available=False, maximum_packet_size=12)
    async with connected(connack=connack) as (client, server):
        with pytest.raises(UnsupportedByServerError, match="QoS 1"):
            await client.publish("t", b"", 2)
        with pytest.raises(UnsupportedByServerError, match="retained"):
            await client.publish("t", b"", retain=True)
        with pytest.raises(UnsupportedByServerError, match="13 bytes"):
            await client.publish("t", b"1234567")
        with pytest.raises(UnsupportedByServerError, match="bytes"):
            await client.subscribe("a/long/filter")
        await client.publish("t", b"123456")
        await server.expect(b"\x30\x0a\x00\x01t\x00123456")


@pytest.mark.parametrize("topic", ["", "a/#", "+", "a\0"])
@on_mock_clock
async def test_a_topic_that_cannot_be(topic: str) -> None:
    async with connected() as (client, _):
        with pytest.raises(ValueError, match="topic"):
            await client.publish(topic)


@on_mock_clock
async def test_identifiers_go_round_and_spare_those_in_use() -> None:
    async with connected(4, connack=Connack()) as (client, server):
        with trio.move_on_after(1):
            await client.publish("t", b"", 1)  # 1 stays in use
        await server.packet()
        client._session._identifiers.last = 65_534
        for packet_id in (b"\xff\xff", b"\x00\x02"):
            async with beside(client.publish("t", b"", 1)) as outcome:
                await server.expect(b"\x32\x05\x00\x01t" + packet_id)
                await server.send(b"\x40\x02" + packet_id)
            assert outcome.error is None


# subscribe, unsubscribe


@on_mock_clock
async def test_subscribe_gives_the_codes() -> None:
    async with connected() as (client, server):
        filters = ["a/#", SubscriptionRequest("$share/g/b", 2, False, True, 1)]
        async with beside(client.subscribe(filters, 1, subscription_identifier=5)) as outcome:
            await server.expect(b"\x82\x18\x00\x01\x02\x0b\x05\x00\x03a/#\x01\x00\x0a$share/g/b\x1a")
            await server.send(b"\x90\x05\x00\x01\x00\x01\x87")
        assert outcome.value == (1, 0x87)
        async with beside(client.unsubscribe(["a/#", "b"])) as outcome:
            await server.expect(b"\xa2\x0b\x00\x02\x00\x00\x03a/#\x00\x01b")
            await server.send(b"\xb0\x05\x00\x02\x00\x00\x11")
        assert outcome.value == (0, 0x11)


@on_mock_clock
async def test_below_version_5() -> None:
    async with connected(4) as (client, server):
        async with beside(client.subscribe("a", 2)) as outcome:
            await server.expect(b"\x82\x06\x00\x01\x00\x01a\x02")
            await server.send(b"\x90\x03\x00\x01\x80")
        assert outcome.value == (0x80,)
        async with beside(client.unsubscribe("a")) as outcome:
            await server.expect(b"\xa2\x05\x00\x02\x00\x01a")
            await server.send(b"\xb0\x02\x00\x02")
        assert outcome.value == ()


@on_mock_clock
async def test_one_code_for_two_filters_is_no_answer() -> None:
    async with connected() as (client, server):
        async with beside(client.subscribe(["a", "b"])) as outcome:
            await server.packet()
            await server.send(b"\x90\x04\x00\x01\x00\x00")
        assert isinstance(outcome.error, DisconnectedError)


@on_mock_clock
async def test_a_filter_that_cannot_be() -> None:
    async with connected() as (client, _):
        for call in (client.subscribe, client.unsubscribe):
            with pytest.raises(ValueError, match="'#'"):
                await call(["a", "b#"])


# receive


@on_mock_clock
async def test_a_message_with_everything() -> None:
    async with connected() as (client, server):
        await server.send(
            b"\x31\x2b\x00\x02\xc3\xbc\x26"  # 43 bytes, topic name, property length 38
            b"\x01\x01\x02\x00\x00\x00\x3c\x03\x00\x01c\x08\x00\x01r\x09\x00\x01\x00"
            b"\x0b\x01\x0b\x80\x01\x26\x00\x01b\x00\x011\x26\x00\x01a\x00\x012"
        )
        assert await client.receive() == Message(
            "ü", b"", 0, True, False, True, 60, "c", "r", b"\x00", (1, 128), (("b", "1"), ("a", "2"))
        )


@on_mock_clock
async def test_qos_1_is_acknowledged_when_it_is_taken() -> None:
    async with connected(4) as (client, server):
        await server.send(b"\x32\x06\x00\x01t\x00\x07x")
        await server.expect_silence()
        assert await client.receive() == Message("t", b"x", 1, False, False)
        await server.expect(b"\x40\x02\x00\x07")


@on_mock_clock
async def test_qos_2_comes_once() -> None:
    async with connected(5) as (client, server):
        publish = b"\x34\x07\x00\x01t\x00\x07\x00x"
        await server.send(publish)
        assert (await client.receive()).payload == b"x"
        await server.expect(b"\x50\x02\x00\x07")
        await server.send(b"\x3c" + publish[1:])  # again, with DUP
        await server.expect(b"\x50\x02\x00\x07")
        await server.send(b"\x62\x02\x00\x07")
        await server.expect(b"\x70\x02\x00\x07")
        await server.send(b"\x62\x02\x00\x07")  # an identifier that is known no more
        await server.expect(b"\x70\x03\x00\x07\x92")
        await server.send(publish)  # and a new message by the same identifier
        assert (await client.receive()).payload == b"x"
        await server.expect(b"\x50\x02\x00\x07")


@on_mock_clock
async def test_acknowledgements_of_a_former_session() -> None:
    """PUBREC is answered so that the server can let go; the rest is let pass, and no quota is gained by it."""
    async with connected(connack=Connack(receive_maximum=1)) as (client, server):
        await server.send(b"\x40\x02\x00\x09", b"\x70\x02\x00\x09", b"\x50\x02\x00\x09")
        await server.expect(b"\x62\x03\x00\x09\x92")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.publish, "t", b"1", 1)
            nursery.start_soon(client.publish, "t", b"2", 1)
            first = await server.packet()
            await server.expect_silence()
            await server.send(b"\x40\x02" + first[5:7])
            second = await server.packet()
            await server.send(b"\x40\x02" + second[5:7])


@on_mock_clock
async def test_topic_aliases() -> None:
    async with connected(topic_alias_maximum=2) as (client, server):
        await server.send(b"\x30\x08\x00\x01t\x03\x23\x00\x02a")  # sets it
        await server.send(b"\x30\x07\x00\x00\x03\x23\x00\x02b")  # uses it
        assert [(await client.receive()).topic, (await client.receive()).topic] == ["t", "t"]
        await server.send(b"\x30\x07\x00\x00\x03\x23\x00\x01c")  # one that was never set
        with pytest.raises(DisconnectedError, match="Alias 1 stands for nothing"):
            await client.receive()


@on_mock_clock
async def test_what_has_arrived_can_be_taken_after_the_end() -> None:
    async with connected(4) as (client, server):
        await server.send(b"\x30\x04\x00\x01ta", b"\x30\x04\x00\x01tb")
        await server.close()
        await trio.testing.wait_all_tasks_blocked()
        assert [(await client.receive()).payload, (await client.receive()).payload] == [b"a", b"b"]
        with pytest.raises(DisconnectedError):
            await client.receive()


@on_mock_clock
async def test_messages_go_to_whoever_waits_each_to_one() -> None:
    taken: list[bytes] = []

    async def take(client: Client) -> None:
        taken.append((await client.receive()).payload)

    async with connected(4) as (client, server), trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(take, client)
        await trio.testing.wait_all_tasks_blocked()
        await server.send(b"\x30\x04\x00\x01ta", b"\x30\x04\x00\x01tb", b"\x30\x04\x00\x01tc")
    assert sorted(taken) == [b"a", b"b", b"c"]


# Back-pressure


class OneByOne(trio.abc.ReceiveStream):
    """Gives at most one message of 6 bytes at a time, and counts."""

    def __init__(self, stream: trio.testing.MemoryReceiveStream) -> None:
        self._stream = stream
        self.count = 0

    async def receive_some(self, max_bytes: int | None = None) -> bytearray:
        data = await self._stream.receive_some(6)
        self.count += 1
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


@on_mock_clock
async def test_a_slow_reader_stops_the_server_and_is_not_taken_for_dead() -> None:
    readers: list[OneByOne] = []

    def streams() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        near, far = trio.testing.memory_stream_pair()
        readers.append(OneByOne(near.receive_stream))
        return trio.StapledStream(near.send_stream, readers[0]), far

    async with connected(4, streams=streams, keep_alive_s=60, timeout_s=10) as (client, server):
        before = readers[0].count
        await server.send(b"\x30\x04\x00\x01tx" * (MESSAGE_BUFFER + 500))
        await trio.testing.wait_all_tasks_blocked()
        assert readers[0].count - before == MESSAGE_BUFFER
        await server.expect(PINGREQ, PINGREQ, PINGREQ)  # for whose answers nobody looks
        for _ in range(MESSAGE_BUFFER + 500):
            assert (await client.receive()).payload == b"x"


@on_mock_clock
async def test_an_answer_is_read_although_nobody_takes_messages() -> None:
    """Whoever waits for an acknowledgement may be the one who takes the messages that stand before it."""
    async with connected(4) as (client, server):
        await server.send(b"\x30\x04\x00\x01tx" * (MESSAGE_BUFFER + 500))
        await trio.testing.wait_all_tasks_blocked()
        async with beside(client.publish("t", b"", 1)) as outcome:
            await server.packet()
            await server.send(b"\x40\x02\x00\x01")
        assert outcome.error is None
        for _ in range(MESSAGE_BUFFER + 500):
            await client.receive()


class Gate(trio.abc.SendStream):
    """Lets nothing through until it is opened."""

    def __init__(self, stream: trio.testing.MemorySendStream) -> None:
        self._stream = stream
        self.opened = trio.Event()
        self.opened.set()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.opened.wait()
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.opened.wait()

    async def aclose(self) -> None:
        await self._stream.aclose()


@on_mock_clock
async def test_a_server_that_reads_slowly_holds_publish_up() -> None:
    gates: list[Gate] = []
    sent = 0

    def streams() -> tuple[trio.abc.Stream, trio.abc.Stream]:
        near, far = trio.testing.memory_stream_pair()
        gates.append(Gate(near.send_stream))
        return trio.StapledStream(gates[0], near.receive_stream), far

    async def publish_many(client: Client) -> None:
        nonlocal sent
        while True:
            await client.publish("t", b"\0" * 100)
            sent += 1

    async with connected(4, streams=streams, keep_alive_s=0, timeout_s=10) as (client, server):
        gates[0].opened = trio.Event()
        with pytest.raises(NoAnswerError, match="room"):
            await publish_many(client)
        # What one write has taken, what waits for the next, and the message that reached the limit.
        assert OUTPUT_LIMIT_BYTES <= sent * 105 <= 2 * OUTPUT_LIMIT_BYTES + 2 * 105
        gates[0].opened.set()
        await client.publish("t", b"again")
        for _ in range(sent):
            assert len(await server.packet()) == 105
        await server.expect(b"\x30\x08\x00\x01tagain")
