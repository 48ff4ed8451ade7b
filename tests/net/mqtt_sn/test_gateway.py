"""The gateway over UDP on loopback, with the broker in the same process and MQTT clients at its other side."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from net.mqtt_sn.gateway_clients import RunningGateway, SnClient, running_gateway
from net.stream_clients import V5, run_mocked
from noctule._speedups.codec import encode_ack
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.net.listeners import ListenError
from noctule.net.mqtt_sn.messages import (
    Advertise,
    Connack,
    Connect,
    Disconnect,
    GatewayInfo,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    SearchGateway,
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
from noctule.net.mqtt_sn.packets import decode
from noctule.net.mqtt_sn.sockets import open_gateway
from noctule.protocol import PacketType

ACCEPTED, CONGESTION, INVALID_TOPIC_ID, NOT_SUPPORTED = range(4)
NORMAL, PREDEFINED, SHORT = TopicIdType


def run(main: Callable[[RunningGateway], Awaitable[None]], **settings: Any) -> None:
    """Run it with a gateway, on a clock that jumps."""

    async def within() -> None:
        async with running_gateway(**settings) as running:
            await main(running)

    run_mocked(within)


def test_the_url() -> None:
    async def main(running: RunningGateway) -> None:
        assert running.broker.urls == (f"mqtt-sn://127.0.0.1:{running.port}",)

    run(main)


def test_a_client_looks_for_a_gateway() -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        assert await device.ask(SearchGateway(1)) == GatewayInfo(9)

    run(main, gateway_id=9)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_from_a_device(qos: int) -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("#", 0)
        device = await (await running.device()).connect()
        number = await device.register("sensors/1")
        message_id = 7 if qos else 0
        await device.send(Publish(TopicId(NORMAL, number), b"21.5", qos, message_id))
        if qos == 1:
            assert await device.receive() == Puback(number, 7, ACCEPTED)
        elif qos == 2:
            assert await device.receive() == Pubrec(7)
            assert await device.ask(Pubrel(7)) == Pubcomp(7)
        publish = await watching.receive_publish()
        assert (publish.topic, publish.payload) == (b"sensors/1", b"21.5")

    run(main)


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_to_a_device(qos: int) -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("sensors/+/set", qos)
        sender = await running.client()
        for number in range(1, 6):
            await sender.publish(f"sensors/{number % 2}/set", b"%d" % number, qos, number)
            if qos == 2:
                await sender.send(encode_ack(PacketType.PUBREL, number, V5))
            topic, publish = await device.receive_publish()
            assert (topic, publish.payload, publish.qos) == (f"sensors/{number % 2}/set", b"%d" % number, qos)
        session = running.broker.state.sessions.find("dev")
        assert session is not None
        await trio.testing.wait_all_tasks_blocked()
        assert session.unacknowledged == 0

    run(main)


def test_many_messages_keep_their_order() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/#", 1)
        sender = await running.client()
        for number in range(1, 101):
            await sender.publish("a/b", b"%d" % number, 1, number)
        got = [(await device.receive_publish())[1].payload for _ in range(100)]
        assert got == [b"%d" % number for number in range(1, 101)]

    run(main)


def test_a_retained_message_both_ways() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.send(Publish(TopicId(SHORT, 0x7431), b"kept", retain=True))
        await device.subscribe("#")
        topic, publish = await device.receive_publish()
        assert (topic, publish.payload, publish.retain) == ("t1", b"kept", True)

    run(main)


def test_subscribe_and_unsubscribe_in_every_way() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        sender = await running.client()
        for topic, name in (
            ("a/#", "a/b"),
            (TopicId(PREDEFINED, 7), "pre/defined"),
            (TopicId(SHORT, 0x7431), "t1"),
        ):
            answer = await device.ask(Subscribe(topic, 3))
            assert isinstance(answer, Suback)
            device.topics[answer.topic_id] = name
            await sender.publish(name, b"x")
            assert (await device.receive_publish())[0] == name
            assert await device.ask(Unsubscribe(topic, 4)) == Unsuback(4)
            await sender.publish(name, b"y")
            assert await device.nothing()

    run(main, predefined_topics={"7": "pre/defined"})


# --- Wills -----------------------------------------------------------------------------------


async def with_will(running: RunningGateway, **fields: Any) -> SnClient:
    device = await running.device()
    assert await device.ask(Connect("dev", 60, will=True, **fields)) == WillTopicRequest()
    assert await device.ask(WillTopic("wills/dev", 1)) == WillMessageRequest()
    assert await device.ask(WillMessage(b"gone")) == Connack(ACCEPTED)
    return device


def test_the_will_of_a_device_that_is_lost() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("wills/#", 1)
        await with_will(running)
        await trio.sleep(89)
        assert running.gateway.device_count == 1
        await trio.sleep(2)
        publish = await watching.receive_publish()
        assert (publish.topic, publish.payload) == (b"wills/dev", b"gone")
        assert running.gateway.device_count == 0

    run(main)


def test_no_will_of_a_device_that_leaves() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("wills/#", 1)
        device = await with_will(running)
        assert await device.ask(Disconnect()) == Disconnect()
        await trio.sleep(200)
        await watching.ping()

    run(main)


def test_a_will_that_was_changed() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("#", 1)
        device = await with_will(running)
        assert await device.ask(WillTopic("other", 0, is_update=True)) == WillTopicResponse(ACCEPTED)
        assert await device.ask(WillMessage(b"bye", is_update=True)) == WillMessageResponse(ACCEPTED)
        await trio.sleep(200)
        publish = await watching.receive_publish()
        assert (publish.topic, publish.payload, publish.qos) == (b"other", b"bye", 0)

    run(main)


def test_a_will_is_kept_with_its_session() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("wills/#", 1)
        device = await with_will(running, clean_session=False)
        assert await device.ask(Disconnect()) == Disconnect()
        await device.connect(clean_session=False)
        await trio.sleep(200)
        assert (await watching.receive_publish()).payload == b"gone"

    run(main)


def test_a_will_goes_with_its_session() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("wills/#", 1)
        device = await with_will(running, clean_session=False)
        assert await device.ask(Disconnect()) == Disconnect()
        await trio.sleep(200)
        await device.connect(clean_session=False)
        await trio.sleep(200)
        await watching.ping()

    run(main, session_expiry_s=100)


# --- sessions and sleep ----------------------------------------------------------------------


def test_a_session_is_kept_while_its_device_is_away() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect(clean_session=False)
        await device.subscribe("a/b", 1)
        assert await device.ask(Disconnect()) == Disconnect()
        sender = await running.client()
        await sender.publish("a/b", b"meanwhile", 1)
        await device.connect(clean_session=False)
        assert (await device.receive_publish())[1].payload == b"meanwhile"
        assert await device.ask(Disconnect()) == Disconnect()
        await sender.publish("a/b", b"thrown away", 1)
        await device.connect(clean_session=True)
        assert await device.nothing()

    run(main)


def test_a_session_that_nobody_comes_back_for_ends() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect(clean_session=False)
        await device.ask(Disconnect())
        await trio.sleep(99)
        assert len(running.broker.state.sessions) == 1
        await trio.sleep(2)
        assert len(running.broker.state.sessions) == 0

    run(main, session_expiry_s=100)


def test_a_device_that_sleeps() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/#", 1)
        assert await device.ask(Disconnect(3600)) == Disconnect()
        sender = await running.client()
        for _ in range(2):
            for number in range(1, 11):
                await sender.publish("a/b", b"%d" % number, number % 2, number)
            assert await device.nothing()
            await trio.sleep(1800)
            await device.send(Pingreq("dev"))
            got = [(await device.receive_publish())[1].payload for _ in range(10)]
            assert sorted(got, key=int) == [b"%d" % number for number in range(1, 11)]
            assert await device.receive() == Pingresp()
        assert len(running.broker.state.sessions) == 2
        await trio.sleep(4000)
        assert len(running.broker.state.sessions) == 1

    run(main)


def test_a_sleeping_device_is_let_sleep_when_its_session_is_empty_and_not_before() -> None:
    """The messages that cannot be delivered are more than are handled in one go."""

    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/b", 1)
        assert await device.ask(Disconnect(3600)) == Disconnect()
        sender = await running.client()
        for number in range(1, 101):
            await sender.publish("a/b", bytes(2_000), 1, number)
        await sender.publish("a/b", b"small", 1, 101)
        await trio.testing.wait_all_tasks_blocked()
        await device.send(Pingreq("dev"))
        assert (await device.receive_publish())[1].payload == b"small"
        assert await device.receive() == Pingresp()
        assert running.gateway.counts.messages_dropped == 100

    run(main)


def test_more_messages_than_the_session_of_a_sleeping_device_holds() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        await device.subscribe("a/b", 1)
        assert await device.ask(Disconnect(3600)) == Disconnect()
        sender = await running.client()
        for number in range(1, 201):
            await sender.publish("a/b", b"%d" % number, 1, number)
            await sender.publish("a/b", b"%d" % number, 0)
        await trio.testing.wait_all_tasks_blocked()
        await device.send(Pingreq("dev"))
        got: dict[int, int] = {0: 0, 1: 0}
        while True:
            message = await device.receive()
            if isinstance(message, Pingresp):
                break
            assert isinstance(message, Publish)
            got[message.qos] += 1
            if message.qos:
                await device.send(Puback(message.topic_id.number, message.message_id, 0))
        assert got == {0: 5, 1: 21}

    run(main, limits={"queue_max_messages": 20}, buffer_max_messages=6, verify_addresses=False)


# --- forwarders, gateways that advertise ------------------------------------------------------


def test_two_nodes_behind_a_forwarder() -> None:
    async def main(running: RunningGateway) -> None:
        forwarder = await running.device()
        one, two = forwarder.behind_it(b"\x00\x01"), forwarder.behind_it(b"\x00\x02")
        await one.connect("one")
        await two.connect("two")
        await one.subscribe("to/one")
        await two.subscribe("to/two")
        sender = await running.client()
        await sender.publish("to/two", b"2")
        assert (await two.receive_publish())[1].payload == b"2"
        await sender.publish("to/one", b"1")
        assert (await one.receive_publish())[1].payload == b"1"
        assert running.gateway.device_count == 2

    run(main)


def test_the_gateway_advertises_itself() -> None:
    async def within() -> None:
        listening = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await listening.bind(("127.0.0.1", 0))
        with listening:
            async with running_gateway(
                gateway_id=9,
                advertise_address="127.0.0.1",
                advertise_port=listening.getsockname()[1],
                advertise_interval_s=900,
            ):
                for _ in range(3):
                    began = trio.current_time()
                    assert decode(await listening.recv(100)) == Advertise(9, 900)
                assert trio.current_time() - began == pytest.approx(900)

    run_mocked(within)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"address": "192.0.2.1"}, "this machine does not have that address"),
        ({"advertise_address": "everybody"}, "does not appear to be an IPv4 or IPv6 address"),
        ({"advertise_address": "ff02::1"}, "another version of IP"),
    ],
)
def test_where_a_gateway_cannot_listen(settings: dict[str, str], text: str) -> None:
    with pytest.raises(ListenError, match=text):
        trio.run(open_gateway, MqttSnSettings(**{"port": 0, **settings}))  # type: ignore[arg-type]


def test_a_port_that_is_taken() -> None:
    async def main(running: RunningGateway) -> None:
        with pytest.raises(ListenError, match="another program has this port"):
            await open_gateway(MqttSnSettings(port=running.port))

    run(main)


# --- the broker's word ------------------------------------------------------------------------


def test_devices_are_told_when_the_broker_stops() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        running.broker.stop()
        assert await device.receive() == Disconnect()
        assert running.gateway.device_count == 0

    run(main)


def test_an_mqtt_client_takes_the_session_over() -> None:
    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect("shared")
        await running.client("shared")
        assert await device.receive() == Disconnect()

    run(main)


def test_the_brokers_keep_alive() -> None:
    """The broker watches over its connections; the gateway keeps those of its devices alive, asleep or not."""

    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect("dev", 30)
        assert await (await running.device()).ask(Connect("other", 31)) == Connack(NOT_SUPPORTED)
        await device.ask(Disconnect(3600))
        await trio.sleep(3000)
        assert await device.ask(Pingreq("dev")) == Pingresp()

    run(main, broker={"keep_alive_max_s": 30})


def test_the_user_that_a_device_is() -> None:
    async def main(running: RunningGateway) -> None:
        await (await running.device()).connect()
        (link,) = running.broker.state.links
        assert link.session.client.user_name == "sensor-dev"
        assert link.origin.user_name == "sensor-dev"
        assert link.origin.address == "127.0.0.1"
        assert link.origin.listener.allow_anonymous is False

    run(main, user_name="sensor-%c", allow_anonymous=False)


def test_devices_are_anonymous_unless_it_is_said_who_they_are() -> None:
    async def main(running: RunningGateway) -> None:
        await (await running.device()).connect()
        (link,) = running.broker.state.links
        assert link.session.client.user_name is None
        assert link.origin.user_name is None

    run(main)


def test_only_the_devices_that_are_named() -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        assert await device.ask(Connect("stranger", 60)) == Connack(NOT_SUPPORTED)
        assert running.gateway.device_count == 0
        await device.connect("dev")
        (link,) = running.broker.state.links
        assert link.session.client.user_name == "dev"

    run(main, client_ids=("dev",), user_name="%c")


def test_messages_that_the_broker_does_not_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nothing:
        def rule_of(self, action: object, topic: str) -> str:
            return ""

        def publish_rights(self, topic: bytes) -> int:
            return 0

        def may_receive(self, topic: bytes) -> bool:
            return False

    async def main(running: RunningGateway) -> None:
        device = await (await running.device()).connect()
        session = running.broker.state.sessions.find("dev")
        assert session is not None
        session.access = Nothing()
        running.broker.state.router.access_changed()
        assert await device.ask(Publish(TopicId(SHORT, 0x7431), b"x", 1, 7)) == Puback(0x7431, 7, NOT_SUPPORTED)
        assert await device.ask(Publish(TopicId(SHORT, 0x7431), b"x", 2, 8)) == Puback(0x7431, 8, NOT_SUPPORTED)

    run(main)


# --- QoS -1 -------------------------------------------------------------------------------------


def test_qos_minus_one() -> None:
    async def main(running: RunningGateway) -> None:
        watching = await running.client()
        await watching.subscribe("#")
        device = await running.device()
        for topic_id in (TopicId(SHORT, 0x7431), TopicId(PREDEFINED, 7), TopicId(SHORT, 0x7432)):
            await device.send(Publish(topic_id, b"x", -1))
        await device.send(Publish(TopicId(NORMAL, 1), b"x", -1), Publish(TopicId(PREDEFINED, 8), b"x", -1))
        await device.send(Publish(TopicId(SHORT, 0x7431), b"last", -1))
        got = [await watching.receive_publish() for _ in range(3)]
        assert [(publish.topic, publish.payload) for publish in got] == [
            (b"t1", b"x"),
            (b"pre/defined", b"x"),
            (b"t1", b"last"),
        ]
        assert await device.nothing()
        assert running.gateway.counts.unconnected_dropped == 3
        assert running.gateway.device_count == 0
        assert running.broker.state.sessions.find("mqtt-sn-1-unconnected") is not None

    run(main, predefined_topics={"7": "pre/defined", "8": "not/open"}, qos_minus_one_topics=("t1", "pre/defined"))


def test_qos_minus_one_is_refused_unless_it_is_configured() -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        await device.send(Publish(TopicId(SHORT, 0x7431), b"x", -1), Publish(TopicId(PREDEFINED, 7), b"x", -1))
        assert await device.nothing()
        assert running.gateway.counts.unconnected_dropped == 2
        assert not running.broker.state.links

    run(main, predefined_topics={"7": "pre/defined"})


def test_qos_minus_one_when_the_broker_has_ended_its_connection() -> None:
    async def main(running: RunningGateway) -> None:
        device = await running.device()
        await device.send(Publish(TopicId(SHORT, 0x7431), b"x", -1))
        await trio.testing.wait_all_tasks_blocked()
        watching = await running.client("mqtt-sn-1-unconnected")
        await watching.subscribe("#")
        await device.send(Publish(TopicId(SHORT, 0x7431), b"lost", -1))
        await trio.sleep(61)
        other = await running.client("other")
        await other.subscribe("#")
        await device.send(Publish(TopicId(SHORT, 0x7431), b"again", -1))
        assert (await other.receive_publish()).payload == b"again"

    run(main, qos_minus_one_topics=("t1",))
