"""Aggregating mode: devices that share one connection, each with its own subscriptions, flows and Will."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from net.mqtt_sn.gateway_clients import RunningGateway, SnClient, running_gateway
from net.stream_clients import V5, run_mocked
from noctule._speedups.codec import encode_ack
from noctule.config.mqtt_sn import MqttSnMode
from noctule.net.mqtt_sn.messages import (
    Connack,
    Connect,
    Disconnect,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Suback,
    Subscribe,
    TopicId,
    TopicIdType,
    Unsuback,
    Unsubscribe,
    WillMessage,
    WillMessageRequest,
    WillTopic,
    WillTopicRequest,
)
from noctule.protocol import PacketType

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)
T1 = TopicId(TopicIdType.SHORT, 0x7431)


def run(main: Callable[[RunningGateway], Awaitable[None]], **settings: Any) -> None:
    async def within() -> None:
        async with running_gateway(mode=MqttSnMode.AGGREGATING, client_id="plant", **settings) as running:
            await main(running)

    run_mocked(within)


async def devices(running: RunningGateway, *names: str) -> list[SnClient]:
    return [await (await running.device()).connect(name) for name in names]


def subscriptions(running: RunningGateway) -> list[str]:
    session = running.broker.state.sessions.find("plant")
    assert session is not None
    return sorted(found[0].decode() for found in running.broker.state.router.filters.subscriptions_of(session))


def test_one_connection_for_all() -> None:
    async def main(running: RunningGateway) -> None:
        await devices(running, "one", "two", "three")
        (link,) = running.broker.state.links
        assert link.session is not None
        assert link.session.client_id == "plant"
        assert link.session.client.user_name == "plant-user"
        assert running.gateway.device_count == 3

    run(main, user_name="plant-user")


def test_a_message_goes_to_every_device_that_wants_it() -> None:
    async def main(running: RunningGateway) -> None:
        one, two, three = await devices(running, "one", "two", "three")
        await one.subscribe("a/#", 1)
        await one.subscribe("a/b", 0)
        await two.subscribe("a/b", 2)
        await three.subscribe("other", 1)
        sender = await running.client()
        await sender.publish("a/b", b"1", 1)
        for device, qos in ((one, 1), (two, 1)):
            topic, publish = await device.receive_publish()
            assert (topic, publish.payload, publish.qos) == ("a/b", b"1", qos)
        for device in (one, two, three):
            assert await device.nothing()

    run(main)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_from_one_device_to_another(qos: int) -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        await two.subscribe("t1", qos)
        for message_id in range(1, 4):
            await one.send(Publish(T1, b"x", qos, message_id if qos else 0))
            if qos == 1:
                assert await one.receive() == Puback(0x7431, message_id, ACCEPTED)
            elif qos == 2:
                assert await one.receive() == Pubrec(message_id)
                assert await one.ask(Pubrel(message_id)) == Pubcomp(message_id)
            topic, publish = await two.receive_publish()
            assert (topic, publish.payload, publish.qos) == ("t1", b"x", qos)
        await trio.testing.wait_all_tasks_blocked()
        assert not running.gateway._shared._flows

    run(main)


def test_devices_with_the_same_message_ids_do_not_meet() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        watching = await running.client()
        await watching.subscribe("#", 0)
        await one.send(Publish(T1, b"1", 2, 7))
        await two.send(Publish(T1, b"2", 2, 7))
        assert await one.receive() == Pubrec(7)
        assert await two.receive() == Pubrec(7)
        assert await two.ask(Publish(T1, b"2", 2, 7, dup=True)) == Pubrec(7)
        assert await two.ask(Pubrel(7)) == Pubcomp(7)
        assert await two.ask(Pubrel(7)) == Pubcomp(7)
        assert await one.ask(Pubrel(7)) == Pubcomp(7)
        assert [(await watching.receive_publish()).payload for _ in range(2)] == [b"2", b"1"]
        await watching.ping()

    run(main)


def test_qos_2_to_two_devices() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        await one.subscribe("a/b", 2)
        await two.subscribe("a/+", 2)
        sender = await running.client()
        for number in range(1, 4):
            await sender.publish("a/b", b"%d" % number, 2, number)
            await sender.send(encode_ack(PacketType.PUBREL, number, V5))
            for device in (one, two):
                publish = (await device.receive_publish())[1]
                assert (publish.payload, publish.qos) == (b"%d" % number, 2)
        await trio.testing.wait_all_tasks_blocked()
        session = running.broker.state.sessions.find("plant")
        assert session is not None
        assert session.unacknowledged == 0

    run(main)


def test_a_retained_message_is_for_who_has_asked() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        sender = await running.client()
        await sender.publish("a/b", b"kept", retain=True)
        await sender.ping()
        for device, other in ((one, two), (two, one)):
            await device.subscribe("a/b")
            publish = (await device.receive_publish())[1]
            assert (publish.payload, publish.retain) == (b"kept", True)
            assert await other.nothing()
        await sender.publish("a/b", b"live", retain=True)
        for device in (one, two):
            publish = (await device.receive_publish())[1]
            assert (publish.payload, publish.retain) == (b"live", False)

    run(main)


def test_a_subscription_stays_while_anybody_wants_it() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        await one.subscribe("a/b", 0)
        await two.subscribe("a/b", 1)
        await two.subscribe("c", 1)
        assert subscriptions(running) == ["a/b", "c"]
        assert await one.ask(Unsubscribe("a/b", 3)) == Unsuback(3)
        assert await one.ask(Unsubscribe("never", 4)) == Unsuback(4)
        assert subscriptions(running) == ["a/b", "c"]
        sender = await running.client()
        await sender.publish("a/b", b"x", 1)
        assert (await two.receive_publish())[1].qos == 1
        assert await one.nothing()
        await two.ask(Disconnect())
        await trio.testing.wait_all_tasks_blocked()
        assert subscriptions(running) == []
        assert not running.gateway._shared._wanted
        assert not running.gateway._shared._requests

    run(main)


def test_share_groups_cannot_be_shared_again() -> None:
    async def main(running: RunningGateway) -> None:
        (one,) = await devices(running, "one")
        assert await one.ask(Subscribe("$share/g/a", 3)) == Suback(0, 0, 3, NOT_SUPPORTED)

    run(main)


def test_each_device_has_its_own_will() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("wills/#", 1)
        for name, duration_s in (("one", 60), ("two", 600), ("three", 600)):
            device = await running.device()
            assert await device.ask(Connect(name, duration_s, will=True)) == WillTopicRequest()
            assert await device.ask(WillTopic(f"wills/{name}", 1)) == WillMessageRequest()
            assert await device.ask(WillMessage(name.encode())) == Connack(ACCEPTED)
            if name == "three":
                await device.ask(Disconnect())
        await trio.sleep(100)
        assert (await watching.receive_publish()).payload == b"one"
        await watching.ping()
        await trio.sleep(600)
        second = await watching.receive()
        assert b"wills/two" in second[1]
        assert len(running.broker.state.links) == 2

    run(main)


def test_the_message_of_a_device_that_is_lost_in_its_middle() -> None:
    async def main(running: RunningGateway) -> None:
        (one,) = await devices(running, "one")
        assert await one.ask(Publish(T1, b"x", 2, 7)) == Pubrec(7)
        await trio.sleep(100)
        assert running.gateway.device_count == 0
        assert not running.gateway._shared._flows
        session = running.broker.state.sessions.find("plant")
        assert session is not None
        assert session.unreleased == 0

    run(main)


def test_more_messages_than_the_broker_takes_at_a_time() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        assert await one.ask(Publish(T1, b"x", 2, 1)) == Pubrec(1)
        assert await two.ask(Publish(T1, b"x", 2, 1)) == Pubrec(1)
        assert await two.ask(Publish(T1, b"x", 2, 2)) == Puback(0x7431, 2, CONGESTION)
        assert await one.ask(Pubrel(1)) == Pubcomp(1)
        assert await two.ask(Publish(T1, b"x", 1, 3)) == Puback(0x7431, 3, ACCEPTED)

    run(main, limits={"receive_maximum": 2})


def test_a_sleeping_device_gets_what_has_waited() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        await one.subscribe("a/b", 1)
        await two.subscribe("a/b", 1)
        await one.ask(Disconnect(3600))
        sender = await running.client()
        for number in range(1, 6):
            await sender.publish("a/b", b"%d" % number, 1, number)
            assert (await two.receive_publish())[1].payload == b"%d" % number
        await one.send(Pingreq("one"))
        assert [(await one.receive_publish())[1].payload for _ in range(3)] == [b"3", b"4", b"5"]
        assert await one.receive() == Pingresp()
        assert running.gateway.counts.messages_dropped == 2

    run(main, buffer_max_messages=3)


def test_the_broker_ends_the_shared_connection() -> None:
    async def main(running: RunningGateway) -> None:
        one, two = await devices(running, "one", "two")
        await one.subscribe("a/b", 1)
        await running.client("plant")
        assert await one.receive() == Disconnect()
        assert await two.receive() == Disconnect()
        assert running.gateway.device_count == 0
        await one.connect("one")
        await one.subscribe("a/c", 1)
        assert subscriptions(running) == ["a/c"]

    run(main)


def test_the_broker_does_not_let_the_gateway_in() -> None:
    async def main(running: RunningGateway) -> None:
        running.broker.state.is_stopping = True
        one = await running.device()
        assert await one.ask(Connect("one", 60)) == Connack(CONGESTION)
        assert running.gateway.device_count == 0
        running.broker.state.is_stopping = False
        await one.connect("one")

    run(main)


def test_the_brokers_keep_alive() -> None:
    async def main(running: RunningGateway) -> None:
        one = await (await running.device()).connect("one", 20)
        await one.ask(Disconnect(3600))
        await trio.sleep(3000)
        assert await one.ask(Pingreq("one")) == Pingresp()

    run(main, broker={"keep_alive_max_s": 20})
