"""What client libraries would not do: bytes on a bare socket, time-outs, and packets that no client should send."""

import re
import resource
import time
from collections.abc import Callable, Iterator

import pytest
from e2e.process import DEADLINE, BrokerProcess
from e2e.wire import (
    DISCONNECT,
    MQTT5,
    MQTT31,
    MQTT311,
    PINGREQ,
    VERSIONS,
    Wire,
    acknowledge,
    connect,
    field,
    packet,
    publish,
    subscribe,
)

every_version = pytest.mark.parametrize("version", VERSIONS, ids=["3.1", "3.1.1", "5"])

MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID, TOPIC_FILTER_INVALID = 0x81, 0x82, 0x90, 0x8F


@pytest.fixture
def client_id(request: pytest.FixtureRequest) -> str:
    return re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())


@pytest.fixture
def bystander(broker: BrokerProcess, topic: str, client_id: str) -> Iterator[Callable[[], None]]:
    """Another client's connection; calling this checks that it is served as ever."""
    with Wire(broker) as wire:
        wire.connect(client_id + "-bystander")
        wire.subscribe((topic, 0))

        def is_served() -> None:
            wire.send(publish(topic, b"still here"))
            assert wire.receive().body == field(topic) + b"still here"

        is_served()
        yield is_served
        is_served()


def test_connack_of_four_bytes(broker: BrokerProcess, client_id: str) -> None:
    with Wire(broker) as wire:
        assert wire.connect(client_id, MQTT311) == b"\x00\x00"
    with Wire(broker) as wire:
        assert wire.connect(client_id + "-3.1", MQTT31) == b"\x00\x00"


@every_version
def test_all_in_one_write(broker: BrokerProcess, topic: str, client_id: str, version: int) -> None:
    """Packets sent without waiting for CONNACK are answered in their order."""
    with Wire(broker) as wire:
        wire.send(
            connect(client_id, version),
            subscribe(7, (topic, 0), version=version),
            publish(topic, b"x", version=version),
            publish(topic, b"y", qos=1, packet_id=9, version=version),
            PINGREQ,
        )
        received = [wire.receive() for _ in range(6)]
    assert received[0].type == 2
    assert (received[1].type, received[1].body[:2]) == (9, b"\x00\x07")
    deliveries = [found.body[-1:] for found in received if found.type == 3]
    assert deliveries == [b"x", b"y"]
    assert [found.body[:2] for found in received if found.type == 4] == [b"\x00\x09"]
    assert received.index((0xD0, b"")) > max(at for at, found in enumerate(received) if found.type == 4)


@every_version
def test_one_byte_at_a_time(broker: BrokerProcess, topic: str, client_id: str, version: int) -> None:
    with Wire(broker) as wire:
        for byte in connect(client_id, version) + subscribe(1, (topic, 0), version=version):
            wire.send(bytes([byte]))
        assert wire.receive().type == 2
        assert wire.receive().type == 9
        for byte in publish(topic, b"x" * 200, version=version):
            wire.send(bytes([byte]))
        assert wire.receive().body[-200:] == b"x" * 200


def test_takeover_reason_code(broker: BrokerProcess, client_id: str) -> None:
    with Wire(broker) as first, Wire(broker) as second:
        first.connect(client_id, MQTT5)
        second.connect(client_id, MQTT5)
        closing = first.until_closed()
        assert [(found.first, found.body[:1]) for found in closing] == [(0xE0, b"\x8e")]  # Session taken over
        second.send(PINGREQ)
        assert second.receive() == (0xD0, b"")


@every_version
def test_unacknowledged_messages_come_again(broker: BrokerProcess, topic: str, client_id: str, version: int) -> None:
    """After a resume PUBLISH comes with DUP and its packet identifier, PUBREL with its own."""
    expiry = b"\x11\x00\x00\x0e\x10" if version == MQTT5 else b""
    with Wire(broker) as wire:
        wire.connect(client_id, version, clean=False, properties=expiry)
        wire.subscribe((topic, 2), version=version)
        wire.send(publish(topic, b"one", qos=1, packet_id=1, version=version))
        wire.send(publish(topic, b"two", qos=2, packet_id=2, version=version), acknowledge(0x62, 2))
        # The order of answers and deliveries is the broker's; PUBCOMP is the last of the answers.
        first, seen = {}, set[int]()
        while len(first) < 2 or 0x70 not in seen:
            found = wire.receive()
            seen.add(found.first)
            if found.type == 3:
                first[found.body[-3:]] = found
        assert {payload: found.first for payload, found in first.items()} == {b"one": 0x32, b"two": 0x34}
        at = 2 + len(topic)
        ids = {payload: found.body[at : at + 2] for payload, found in first.items()}
        wire.send(packet(0x50, ids[b"two"]))
        assert wire.receive() == (0x62, ids[b"two"])
        wire.reset()
    with Wire(broker) as wire:
        connack = wire.connect(client_id, version, clean=False, properties=expiry)
        assert connack[0] == (0 if version == MQTT31 else 1)
        again = [wire.receive(), wire.receive()]
        assert (0x3A, first[b"one"].body) in again
        assert (0x62, ids[b"two"]) in again
        wire.send(acknowledge(0x40, int.from_bytes(ids[b"one"])), acknowledge(0x70, int.from_bytes(ids[b"two"])))
        wire.send(PINGREQ)
        assert wire.receive() == (0xD0, b"")
    with Wire(broker) as wire:
        wire.connect(client_id, version, clean=False, properties=expiry)
        wire.send(PINGREQ)
        assert wire.receive() == (0xD0, b"")
        wire.send(DISCONNECT)
    with Wire(broker) as wire:
        wire.connect(client_id, version)


@every_version
def test_a_qos_2_publish_that_is_repeated_is_delivered_once(
    broker: BrokerProcess, topic: str, client_id: str, version: int
) -> None:
    with Wire(broker) as subscriber, Wire(broker) as wire:
        subscriber.connect(client_id + "-s", version)
        subscriber.subscribe((topic, 0), version=version)
        wire.connect(client_id, version)
        for dup in (False, True, True):
            wire.send(publish(topic, b"once", qos=2, packet_id=5, version=version, dup=dup))
            answer = wire.receive()
            assert (answer.first, answer.body[:2]) == (0x50, b"\x00\x05")
        wire.send(acknowledge(0x62, 5))
        answer = wire.receive()
        assert (answer.first, answer.body[:2]) == (0x70, b"\x00\x05")
        # The identifier is free again: the same one is a new message.
        wire.send(publish(topic, b"end!", qos=2, packet_id=5, version=version), acknowledge(0x62, 5))
        assert [subscriber.receive().body[-4:] for _ in range(2)] == [b"once", b"end!"]


@every_version
def test_keep_alive(broker: BrokerProcess, topic: str, client_id: str, version: int) -> None:
    """A silent client is closed after one and a half times its keep-alive, and its will is sent."""
    with Wire(broker) as watcher, Wire(broker) as wire:
        watcher.connect(client_id + "-watcher")
        watcher.subscribe((topic, 0))
        wire.connect(client_id, version, keep_alive=1, will=(topic, b"gone"))
        start = time.monotonic()
        closing = wire.until_closed()
        waited = time.monotonic() - start
        assert 1.45 <= waited <= 2.5
        if version == MQTT5:
            assert [(found.first, found.body[:1]) for found in closing] == [(0xE0, b"\x8d")]  # Keep Alive timeout
        else:
            assert closing == []
        assert watcher.receive().body.endswith(b"gone")


def test_any_packet_keeps_alive(broker: BrokerProcess, topic: str, client_id: str) -> None:
    with Wire(broker) as pinging, Wire(broker) as publishing:
        pinging.connect(client_id + "-1", keep_alive=1)
        publishing.connect(client_id + "-2", keep_alive=1)
        start = time.monotonic()
        while time.monotonic() - start < 2.5:
            # A second between two packets is what a client with this keep-alive may do.
            pinging.socket.settimeout(0.9)
            with pytest.raises(TimeoutError):
                pinging.socket.recv(1)
            pinging.send(PINGREQ)
            assert pinging.receive() == (0xD0, b"")
            publishing.send(publish(topic, b"x"))
        publishing.send(PINGREQ)
        assert publishing.receive() == (0xD0, b"")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", id="http"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32), id="tls"),
        pytest.param(b"\x00\x00", id="reserved type"),
        pytest.param(PINGREQ, id="not CONNECT first"),
        pytest.param(publish("t", b"x"), id="PUBLISH first"),
        pytest.param(b"\x10\xff\xff\xff\xff\x01", id="remaining length of five bytes"),
        pytest.param(packet(0x10, b"\x00\x04MQ"), id="protocol name cut short"),
        pytest.param(packet(0x10, field("MQTT") + b"\x04\x02\x00"), id="keep-alive cut short"),
        pytest.param(
            packet(0x10, field("MQTT") + b"\x04\x02\x00\x00\xff\xffid"), id="client id longer than the packet"
        ),
        pytest.param(packet(0x10, field("HTTP") + b"\x04\x02\x00\x00" + field("id")), id="another protocol"),
        pytest.param(packet(0x10, field("MQTT") + b"\x04\x03\x00\x00" + field("id")), id="reserved connect flag"),
        pytest.param(packet(0x10, field("MQTT") + b"\x04\x02\x00\x00" + field("id") + b"rest"), id="bytes left over"),
        pytest.param(packet(0x10, field("MQTT") + b"\x04\x02\x00\x00" + field(b"\xc0\x80")), id="client id not UTF-8"),
        pytest.param(packet(0x11, connect("x")[2:]), id="reserved flag in the first byte"),
    ],
)
def test_junk_before_connect(broker: BrokerProcess, bystander: Callable[[], None], data: bytes) -> None:
    with Wire(broker) as wire:
        wire.send(data)
        # A refusal may come first, but no session.
        assert all(found.first == 0x20 and found.body[1] != 0 for found in wire.until_closed())
    bystander()


TWO = b"\x00\x02"
BAD_PACKETS: dict[str, tuple[dict[int, bytes], set[int]]] = {
    # What is wrong: the bytes by version, and the reason codes that version 5 may be told.
    "second CONNECT": ({v: connect("x", v) for v in VERSIONS}, {PROTOCOL_ERROR}),
    "reserved type 0": (dict.fromkeys(VERSIONS, b"\x00\x00"), {MALFORMED, PROTOCOL_ERROR}),
    "AUTH before version 5": ({MQTT31: b"\xf0\x00", MQTT311: b"\xf0\x00"}, set()),
    "CONNACK from a client": ({v: packet(0x20, b"\x00\x00\x00") for v in VERSIONS}, {MALFORMED, PROTOCOL_ERROR}),
    "PINGREQ with flags": (dict.fromkeys(VERSIONS, b"\xc1\x00"), {MALFORMED}),
    "PINGREQ with a body": (dict.fromkeys(VERSIONS, b"\xc0\x01\x00"), {MALFORMED}),
    "remaining length too long": (dict.fromkeys(VERSIONS, b"0\x80\x80\x80\x80\x01"), {MALFORMED}),
    "PUBLISH at QoS 3": ({v: b"\x36" + publish("t", b"x", 1, version=v)[1:] for v in VERSIONS}, {MALFORMED}),
    "PUBLISH with packet id 0": (
        {v: publish("t", b"x", 1, 0, version=v) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR},
    ),
    "PUBLISH to a wildcard": (
        {v: publish("t/#", b"x", version=v) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID},
    ),
    "PUBLISH to an empty topic": (
        {v: publish("", b"x", version=v) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR, TOPIC_NAME_INVALID},
    ),
    "PUBLISH to bytes that are not UTF-8": (
        {v: publish(b"t\xff", b"x", version=v) for v in VERSIONS},
        {MALFORMED, TOPIC_NAME_INVALID},
    ),
    "PUBLISH to a topic with NUL": (
        {v: publish("t\0", b"x", version=v) for v in VERSIONS},
        {MALFORMED, TOPIC_NAME_INVALID},
    ),
    "PUBLISH with its topic cut short": ({v: packet(0x30, b"\x00\x09short") for v in VERSIONS}, {MALFORMED}),
    "PUBLISH with an unknown property": (
        {MQTT5: packet(0x30, field("t") + b"\x02\x7e\x00")},
        {MALFORMED, PROTOCOL_ERROR},
    ),
    "SUBSCRIBE with wrong flags": (
        {v: b"\x80" + subscribe(2, ("t", 0), version=v)[1:] for v in VERSIONS[1:]},
        {MALFORMED},
    ),
    "SUBSCRIBE to nothing": (
        {v: packet(0x82, TWO + (b"\x00" if v == MQTT5 else b"")) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR},
    ),
    "SUBSCRIBE at QoS 3": (
        {v: subscribe(2, ("t", 3), version=v) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR},
    ),
    "UNSUBSCRIBE from nothing": (
        {v: packet(0xA2, TWO + (b"\x00" if v == MQTT5 else b"")) for v in VERSIONS},
        {MALFORMED, PROTOCOL_ERROR},
    ),
    "PUBREL with wrong flags": ({v: packet(0x60, TWO) for v in VERSIONS[1:]}, {MALFORMED}),
    "PUBACK cut short": ({v: packet(0x40, b"\x00") for v in VERSIONS}, {MALFORMED}),
}


@pytest.mark.parametrize(
    ("version", "data", "codes"),
    [
        pytest.param(version, data, codes, id=f"{name}, version {version}")
        for name, (by_version, codes) in BAD_PACKETS.items()
        for version, data in by_version.items()
    ],
)
def test_a_bad_packet_closes_its_connection_alone(
    broker: BrokerProcess,
    bystander: Callable[[], None],
    topic: str,
    client_id: str,
    version: int,
    data: bytes,
    codes: set[int],
) -> None:
    with Wire(broker) as wire:
        wire.connect(client_id, version)
        wire.send(data, publish(topic, b"must not arrive", version=version))
        closing = wire.until_closed()
        if version == MQTT5:
            assert len(closing) == 1
            assert closing[0].first == 0xE0
            assert closing[0].body[0] in codes
        else:
            assert closing == []
    bystander()


def test_a_reader_that_stalls_holds_up_nobody(broker: BrokerProcess, topic: str, client_id: str) -> None:
    with Wire(broker) as stalled, Wire(broker) as subscriber, Wire(broker) as publisher:
        stalled.connect(client_id + "-stalled")
        stalled.subscribe((topic, 0))
        subscriber.connect(client_id + "-subscriber")
        subscriber.subscribe((topic, 1))
        publisher.connect(client_id)
        for number in range(1, 401):
            publisher.send(publish(topic, number.to_bytes(2) + bytes(1 << 16), 1, number))
            assert publisher.receive() == (0x40, number.to_bytes(2))
            delivered = subscriber.receive()
            at = 2 + len(topic)
            assert delivered.body[at + 2 : at + 4] == number.to_bytes(2)
            subscriber.send(packet(0x40, delivered.body[at : at + 2]))


def test_accepting_goes_on_after_running_out_of_descriptors(
    start_broker: Callable[..., BrokerProcess], client_id: str
) -> None:
    broker = start_broker()
    resource.prlimit(broker.process.pid, resource.RLIMIT_NOFILE, (48, 48))
    wires = [Wire(broker) for _ in range(80)]
    for number, wire in enumerate(wires):
        wire.send(connect(f"{client_id}-{number}"))
    assert wires[0].receive().type == 2
    for wire in wires:
        wire.socket.close()
    start = time.monotonic()
    with Wire(broker) as wire:
        wire.connect(client_id)
    assert time.monotonic() - start < DEADLINE
    broker.stop()
