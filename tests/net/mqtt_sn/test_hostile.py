"""Datagrams of those who mean harm: forged addresses, floods, client identifiers of others, errors of our own."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from net.mqtt_sn.gateway_clients import RunningGateway, running_gateway
from net.stream_clients import run_mocked
from noctule.config import limits
from noctule.config.mqtt_sn import AddressChange
from noctule.net.mqtt_sn.messages import (
    Advertise,
    Connack,
    Connect,
    Disconnect,
    GatewayInfo,
    Message,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    Suback,
    Subscribe,
    TopicId,
    TopicIdType,
    Unsuback,
    Unsubscribe,
    WillMessage,
    WillMessageRequest,
    WillMessageResponse,
    WillTopic,
    WillTopicRequest,
    WillTopicResponse,
)
from noctule.net.mqtt_sn.packets import encode
from noctule.net.mqtt_sn.rates import Bucket, Rates
from noctule.net.mqtt_sn.requests import Requests

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)
NORMAL, PREDEFINED, SHORT = TopicIdType
T1 = TopicId(SHORT, 0x7431)


def run(main: Callable[[RunningGateway], Awaitable[None]], **settings: Any) -> None:
    async def within() -> None:
        async with running_gateway(**settings) as running:
            await main(running)

    run_mocked(within)


# --- strangers ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Pingreq(),
        Pingreq("dev"),
        Publish(T1, b"x"),
        Publish(T1, b"x", 1, 1),
        Pubrel(1),
        Register(0, 1, "a"),
        Subscribe("#", 1),
        Unsubscribe("#", 1),
        WillTopic("w", is_update=True),
        WillMessage(b"w", is_update=True),
    ],
    ids=lambda message: type(message).__name__,
)
def test_who_is_not_connected_is_told_so_in_two_bytes(message: Message) -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        assert await device.ask(message) == Disconnect()
        assert running.gateway.device_count == 0
        assert not running.broker.state.links

    run(main)


@pytest.mark.parametrize(
    "message",
    [
        Advertise(1, 900),
        GatewayInfo(1),
        Connack(0),
        WillTopicRequest(),
        WillTopic("w"),
        WillMessageRequest(),
        WillMessage(b"w"),
        WillTopicResponse(0),
        WillMessageResponse(0),
        Regack(1, 1, 0),
        Puback(1, 1, 0),
        Pubrec(1),
        Pubcomp(1),
        Suback(0, 1, 1, 0),
        Unsuback(1),
        Pingresp(),
        Disconnect(),
        Disconnect(60),
        Publish(T1, b"x", -1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_not_answered_to_strangers(message: Message) -> None:
    """Two gateways that are made to talk to each other must fall silent."""

    async def main(running: RunningGateway) -> None:
        device = await running.device()
        await device.send(message)
        assert await device.nothing()

    run(main)


def test_who_has_left_is_answered_a_few_times() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        for _ in range(5):
            assert await device.ask(Disconnect()) == Disconnect()
        await device.send(Disconnect())
        assert await device.nothing()

    run(main, retry_count=3)


def test_no_answer_to_a_stranger_is_much_longer_than_what_it_sent() -> None:
    """A SUBACK has eight bytes, and the shortest SUBSCRIBE six; all others are no longer."""

    async def main(running: RunningGateway) -> None:
        device = await running.device()
        for datagram in (encode(Connect("d", 60)), encode(Pingreq()), encode(Subscribe("#", 1))):
            await device.send_bytes(datagram)
            assert len(await device.receive_bytes()) <= len(datagram) + 2

    run(main)


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        b"\x00",
        b"\xff" * 1_500,
        b"\x02\x03",
        b"\x01\xff\xff\x0c",
        b"\x03\xfe\x00",
        b"\x03\xfe\x00\x03\xfe\x00\x02\x16",
    ],
)
def test_what_is_no_message(datagram: bytes) -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        await device.send_bytes(datagram)
        assert await device.nothing()
        assert running.gateway.counts.malformed == 1

    run(main)


def test_a_node_with_too_long_a_name() -> None:
    async def main(running: RunningGateway) -> None:
        forwarder = await running.device()
        node = forwarder.behind_it(bytes(limits.MQTT_SN_NODE_ID_MAX_BYTES))
        assert await node.ask(Pingreq()) == Disconnect()
        await forwarder.behind_it(bytes(limits.MQTT_SN_NODE_ID_MAX_BYTES + 1)).send(Pingreq())
        assert await forwarder.nothing()

    run(main)


def test_a_message_that_is_too_large() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        watching = await running.client()
        await watching.subscribe("#")
        await device.send(Publish(T1, bytes(93)), Publish(T1, bytes(94)), Publish(T1, b"last"))
        assert len((await watching.receive_publish()).payload) == 93
        assert (await watching.receive_publish()).payload == b"last"

    run(main, message_max_bytes=100)


# --- forged addresses ----------------------------------------------------------------------------


def test_a_forged_address_is_not_flooded_with_what_was_subscribed_to_for_it() -> None:
    async def main(running: RunningGateway) -> None:
        victim = await running.device()
        sender = await running.client("sender")
        await sender.publish("retained", bytes(1_000), retain=True)
        await victim.send(Connect("forged", 65_535), Subscribe("#", 1, 1))
        for number in range(200):
            await sender.publish(f"some/topic/{number}", bytes(1_000))
        await trio.sleep(600)
        received = 0
        with trio.move_on_after(1):
            while True:
                received += len(await victim.receive_bytes())
        assert received <= 3 * 20 + limits.MQTT_SN_UNVERIFIED_BYTES_MAX

    run(main)


def test_strangers_are_slowed_down() -> None:
    async def main(running: RunningGateway) -> None:
        gateway = running.gateway
        gateway._strangers = Bucket(1.0, 10.0, trio.current_time())
        for number in range(50):
            gateway.datagram(encode(Connect(f"d{number}", 60)), ("127.0.0.1", 10_000 + number))
        assert gateway.device_count == 10
        assert gateway.counts.over_rate == 40

    run(main)


def test_a_device_that_has_spoken_is_not_a_stranger() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        running.gateway._strangers = Bucket(0.0, 0.0, trio.current_time())
        assert await device.ask(Pingreq()) == Pingresp()

    run(main)


# --- too many --------------------------------------------------------------------------------------


def test_a_flood_of_one_address_leaves_the_others_alone() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        flooding = await (await running.device("127.0.0.2")).connect("flooding")
        before = running.gateway.counts.datagrams_sent
        for _ in range(5_000):
            running.gateway.datagram(encode(Pingreq()), flooding.socket.getsockname())
        assert running.gateway.counts.datagrams_sent - before < limits.MQTT_SN_DATAGRAMS_AT_ONCE
        assert running.gateway.counts.over_rate > 5_000 - limits.MQTT_SN_DATAGRAMS_AT_ONCE
        assert await device.ask(Pingreq()) == Pingresp()
        await trio.sleep(2)
        running.gateway.datagram(encode(Pingreq()), flooding.socket.getsockname())
        assert running.gateway.counts.over_rate <= 5_000

    run(main)


def test_a_flood_of_strangers_over_the_wire() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        flooding = await running.device("127.0.0.2")
        for _ in range(20):
            for _ in range(100):
                await flooding.send_bytes(b"\x02\x16")
            await trio.lowlevel.checkpoint()
        assert await device.ask(Pingreq()) == Pingresp()
        assert running.gateway.counts.datagrams_sent <= limits.MQTT_SN_STRANGERS_AT_ONCE + 2

    run(main)


def test_a_flood_of_messages_from_a_device_is_bounded() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        number = await device.register("a/b")
        for message_id in range(1, 1_001):
            running.gateway.datagram(
                encode(Publish(TopicId(NORMAL, number), bytes(100), 2, message_id)), device.socket.getsockname()
            )
        session = running.broker.state.sessions.find("dev")
        assert session is not None
        assert session.unreleased == limits.MQTT_SN_RECEIVE_MAX

    run(main)


def test_too_many_devices() -> None:
    async def main(running: RunningGateway) -> None:
        one, two, three = [await running.device() for _ in range(3)]
        await one.connect("one")
        await two.connect("two")
        assert await three.ask(Connect("three", 60)) == Connack(CONGESTION)
        assert running.gateway.counts.refused_full == 1
        # Who is there already may connect again, whatever the number.
        assert await one.ask(Connect("one", 60)) == Connack(ACCEPTED)
        await one.ask(Disconnect())
        await three.connect("three")

    run(main, devices_max=2)


def test_too_many_devices_of_one_address() -> None:
    async def main(running: RunningGateway) -> None:
        await (await running.device("127.0.0.2")).connect("one")
        forwarder = await running.device("127.0.0.2")
        assert await forwarder.behind_it(b"2").ask(Connect("two", 60)) == Connack(CONGESTION)
        await (await running.device("127.0.0.3")).connect("three")

    run(main, devices_per_address_max=1)


def test_a_device_that_has_said_nothing_makes_room_for_others() -> None:
    async def main(running: RunningGateway) -> None:
        speaking = await (await running.device()).connect("speaking")
        assert await speaking.ask(Pingreq()) == Pingresp()
        await (await running.device()).connect("silent", 65_535)
        late = await running.device()
        assert await late.ask(Connect("late", 60)) == Connack(CONGESTION)
        await trio.sleep(limits.CONNECT_TIMEOUT_S)
        await late.connect("late")
        assert running.broker.state.sessions.find("silent") is None
        assert running.broker.state.sessions.find("speaking") is not None
        assert running.gateway.device_count == 2

    run(main, devices_max=2)


def test_nothing_is_left_of_devices_that_have_gone() -> None:
    async def main(running: RunningGateway) -> None:
        gateway = running.gateway
        for number in range(300):
            address = ("127.0.0.1", 20_000 + number)
            gateway.datagram(encode(Connect(f"d{number}", 1, will=number % 3 == 0)), address)
            if number % 3 == 1:
                gateway.datagram(encode(Disconnect()), address)
        await trio.sleep(60)
        assert gateway.device_count == 0
        assert not running.broker.state.links
        for kept in (gateway._by_client_id, gateway._by_ip, gateway._silent, gateway._client_of, gateway._kept_alive):
            assert len(kept) == 0  # type: ignore[arg-type]
        assert len(gateway._deadlines) == 0
        assert len(gateway._left) <= limits.MQTT_SN_LEFT_MAX

    run(main, devices_per_address_max=1_000)


def test_buckets() -> None:
    bucket = Bucket(2.0, 3.0, 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(100.5) for _ in range(2)] == [True, False]
    assert [bucket.take(1_000.0) for _ in range(4)] == [True, True, True, False]


def test_the_rates_of_very_many_addresses() -> None:
    rates = Rates(1.0, 1.0, addresses_max=10)
    for number in range(1_000):
        assert rates.take(f"10.0.{number // 256}.{number % 256}", 0.0)
        assert len(rates) <= 10
    assert not rates.take("10.0.3.231", 0.0)


# --- other people's client identifiers ----------------------------------------------------------------


def test_another_address_with_the_same_client_identifier() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/b")
        impostor = await running.device("127.0.0.2")
        assert await impostor.ask(Connect("dev", 60)) == Connack(CONGESTION)
        assert await impostor.ask(Pingreq("dev")) == Disconnect()
        assert await device.ask(Pingreq()) == Pingresp()
        await trio.sleep(95)  # until it is lost
        await impostor.connect("dev")

    run(main)


def test_a_sleeping_device_is_not_robbed_of_its_messages() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/b", 1)
        await device.ask(Disconnect(3600))
        sender = await running.client()
        await sender.publish("a/b", b"secret", 1)
        impostor = await running.device("127.0.0.2")
        assert await impostor.ask(Pingreq("dev")) == Disconnect()
        assert await impostor.ask(Connect("dev", 60, clean_session=False)) == Connack(CONGESTION)
        await device.send(Pingreq("dev"))
        assert (await device.receive_publish())[1].payload == b"secret"

    run(main)


@pytest.mark.parametrize(("address", "change"), [("127.0.0.1", "refused"), ("127.0.0.2", "allowed")])
def test_a_device_that_connects_from_elsewhere(address: str, change: str) -> None:
    async def main(running: RunningGateway) -> None:
        old = await (await running.device()).connect()
        new = await (await running.device(address)).connect()
        assert running.gateway.device_count == 1
        assert await new.ask(Pingreq()) == Pingresp()
        assert await old.ask(Pingreq()) == Disconnect()
        assert len(running.broker.state.links) == 1

    run(main, address_change=AddressChange(change))


def test_another_client_at_the_same_address() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect("one")
        await device.connect("two")
        assert running.gateway.device_count == 1
        assert running.broker.state.sessions.find("one") is None

    run(main)


# --- our own errors -------------------------------------------------------------------------------------


def test_an_error_of_ours_ends_the_connection_of_one_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(requests: Requests, message: Register) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Requests, "register", fail)

    async def main(running: RunningGateway) -> None:
        one = await (await running.device()).connect("one")
        two = await (await running.device()).connect("two")
        await one.send(Register(0, 1, "a"))
        assert await two.ask(Pingreq()) == Pingresp()
        assert await one.ask(Pingreq()) == Disconnect()

    run(main)
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]


def test_an_error_of_the_brokers_ends_the_connection_of_one_device(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("noctule.handlers.dispatch.handle_subscribe", fail)

    async def main(running: RunningGateway) -> None:
        one = await (await running.device()).connect("one")
        two = await (await running.device()).connect("two")
        assert await one.ask(Subscribe("a", 1)) == Disconnect()
        assert await two.ask(Pingreq()) == Pingresp()

    run(main)
    assert [record.levelno for record in caplog.records if record.levelno >= logging.ERROR] == [logging.ERROR]
