"""Any datagrams in any order: nothing raises, what is held stays bounded, what is sent can be read."""

from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from net.mqtt_sn.device_bench import Bench
from net.mqtt_sn.gateway_clients import running_gateway
from net.stream_clients import run_mocked
from noctule.config import limits
from noctule.config.mqtt_sn import MqttSnMode
from noctule.net.mqtt_sn.messages import (
    Connack,
    Connect,
    Disconnect,
    Encapsulated,
    Message,
    Pingreq,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
    SearchGateway,
    Subscribe,
    TopicId,
    TopicIdType,
    Unsubscribe,
    WillMessage,
    WillTopic,
)
from noctule.net.mqtt_sn.packets import encode

NAMES = st.sampled_from(["a", "t1", "a/b", "a/+", "#", "pre/defined", "$share/g/a", "x" * 300, "a/#/b"])
IDS = st.integers(0, 8) | st.sampled_from([0x4001, 0x4002, 0x7431, 0xFFFF])
CODES = st.integers(0, 3)
PAYLOADS = st.binary(max_size=20)
TOPIC_IDS = st.builds(TopicId, st.sampled_from(TopicIdType), IDS)
NAMED_OR_NOT = NAMES | TOPIC_IDS.filter(lambda topic_id: topic_id.kind is not TopicIdType.NORMAL)
CLIENT_IDS = st.sampled_from(["dev", "other"])

MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(Connect, CLIENT_IDS, st.sampled_from([0, 1, 60]), st.booleans(), st.booleans()),
    st.builds(WillTopic, NAMES | st.just(""), st.integers(0, 2), st.booleans(), st.booleans()),
    st.builds(WillMessage, PAYLOADS, st.booleans()),
    st.builds(Register, st.just(0), IDS, NAMES),
    st.builds(Regack, IDS, IDS, CODES),
    st.builds(Publish, TOPIC_IDS, PAYLOADS, st.integers(-1, 2), IDS, st.booleans(), st.booleans()),
    st.builds(Puback, IDS, IDS, CODES),
    st.builds(Pubrec, IDS),
    st.builds(Pubrel, IDS),
    st.builds(Pubcomp, IDS),
    st.builds(Subscribe, NAMED_OR_NOT, IDS, st.integers(0, 2), st.booleans()),
    st.builds(Unsubscribe, NAMED_OR_NOT, IDS),
    st.builds(Pingreq, st.none() | CLIENT_IDS),
    st.builds(Disconnect, st.none() | st.sampled_from([0, 1, 60])),
    st.builds(SearchGateway, st.integers(0, 3)),
    st.builds(Connack, CODES),
)

#: What the broker says and does, and what time does.
EVENTS = st.one_of(
    st.tuples(st.just("connected"), st.sampled_from([0, 0x87, 0x97])),
    st.tuples(st.just("published"), IDS),
    st.tuples(st.just("received"), IDS),
    st.tuples(st.just("completed"), IDS),
    st.tuples(st.just("subscribed"), IDS),
    st.tuples(st.just("unsubscribed"), IDS),
    st.tuples(st.just("release"), IDS),
    st.tuples(st.just("deliver"), NAMES, st.integers(0, 2), IDS),
    st.tuples(st.just("advance"), st.sampled_from([1, 10, 50])),
    st.tuples(st.just("settled")),
    st.tuples(st.just("ended")),
)


def happens(bench: Bench, event: tuple[Any, ...]) -> None:
    device = bench.device
    match event:
        case ("connected", code):
            device.connected(code, bench.now)
        case ("published" | "received" | "subscribed" as name, message_id):
            getattr(device, name)(message_id, 0)
        case ("completed", message_id) if message_id in device.requests._publishing:
            device.completed(message_id)
        case ("release", packet_id) if device.is_connected and packet_id and device.deliveries.queued_messages < 5:
            device.release(packet_id, bench.now)
        case ("deliver", topic, qos, packet_id) if device.is_connected and not set(topic) & set("+#"):
            bench.deliver(topic, b"x" * 400, qos if packet_id else 0, packet_id if qos else 0)
        case ("advance", seconds):
            bench.advance(seconds)
        case ("settled",):
            device.settled()
        case ("ended",):
            device.ended()
        case _:
            pass


@given(st.lists(MESSAGES | EVENTS, max_size=60))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_messages_and_events(steps: list[Any]) -> None:
    bench = Bench(buffer_max_messages=5, buffer_max_bytes=1_500, topics_max=4, retry_count=1)
    bench.receive(Connect("dev", 60))
    bench.device.connected(0, bench.now)
    for step in steps:
        if isinstance(step, tuple):
            happens(bench, step)
        else:
            bench.receive(step)
        device = bench.device
        kept = sum(isinstance(item, int) or item.is_kept for item in device.deliveries._queue)
        assert device.deliveries.queued_messages <= 5 + kept
        assert device.deliveries.queued_bytes <= 1_500 + kept * 700
        assert len(device.topics) <= 4
        assert len(device.requests._publishing) <= limits.MQTT_SN_RECEIVE_MAX
        assert len(device.requests._subscribing) <= limits.MQTT_SN_RECEIVE_MAX
        assert len(bench.wills) <= 1
    bench.advance(100_000)
    assert not bench.device.is_connected
    assert bench.device.deadline == float("inf")


DATAGRAMS = st.one_of(
    MESSAGES.map(encode),
    st.builds(lambda node, message: encode(Encapsulated(node, encode(message))), st.binary(max_size=2), MESSAGES),
    st.binary(max_size=40),
)


@pytest.mark.parametrize("mode", MqttSnMode)
def test_any_datagrams(mode: MqttSnMode, caplog: pytest.LogCaptureFixture) -> None:
    @given(st.lists(st.tuples(DATAGRAMS, st.integers(1, 3), st.sampled_from([0, 0, 0, 1, 20])), max_size=60))
    @settings(max_examples=120, deadline=None, derandomize=True)
    def check(steps: list[tuple[bytes, int, float]]) -> None:
        async def main() -> None:
            async with running_gateway(
                mode=mode, predefined_topics={"7": "pre/defined"}, qos_minus_one_topics=("t1",), devices_max=4
            ) as running:
                for datagram, host, seconds in steps:
                    running.gateway._guarded(
                        None, lambda d=datagram, h=host: running.gateway.datagram(d, (f"127.0.0.{h}", 9))
                    )
                    running.gateway._end_turn()
                    if seconds:
                        await trio.sleep(seconds)
                    assert running.gateway.device_count <= 4
                for _ in range(30):
                    await trio.sleep(3_600)  # longer than any silence that is waited for
                assert running.gateway.device_count == 0
                # The gateway's own connections stay.
                assert len(running.broker.state.links) <= (2 if mode is MqttSnMode.AGGREGATING else 1)
                assert not running.gateway._by_ip
                assert len(running.gateway._deadlines) == 0

        run_mocked(main)

    check()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
