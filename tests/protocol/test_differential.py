"""Our decoders on the bytes of other people's encoders: paho-mqtt and gmqtt, so that a misreading cannot hide.

What they are asked to say is said once, in their own terms; what must come out is written down in ours.
"""

from types import SimpleNamespace
from typing import Any

import gmqtt
import paho.mqtt.client as paho
import pytest
from gmqtt.mqtt import package as gmqtt_package
from gmqtt.mqtt.constants import MQTTCommands, MQTTv50, MQTTv311
from noctule._speedups.codec import Ack, FrameScanner, Publish, decode_ack, decode_publish
from noctule.protocol import (
    SESSION_NEVER_EXPIRES,
    Connack,
    Connect,
    Disconnect,
    PacketType,
    PropertyId,
    ProtocolVersion,
    ReasonCode,
    Subscribe,
    SubscriptionRequest,
    Unsubscribe,
    Will,
    decode_connect,
    decode_disconnect,
    decode_property_block,
    decode_subscribe,
    decode_unsubscribe,
    encode_connack,
)
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode as PahoReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

V3_1, V3_1_1, V5 = ProtocolVersion


class Wire:
    """Stands in for a socket: keeps what is sent."""

    def __init__(self) -> None:
        self.sent = bytearray()

    def send(self, data: bytes) -> int:
        self.sent += data
        return len(data)

    def close(self) -> None:
        pass

    def packet(self) -> tuple[int, bytes]:
        """The one packet that was sent since the last call."""
        ((first, body),) = FrameScanner().feed(bytes(self.sent))
        self.sent.clear()
        return first, body


def paho_client(wire: Wire, version: int, client_id: str = "c", clean_session: bool = True) -> paho.Client:
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id,
        clean_session=None if version == V5 else clean_session,
        protocol=paho.MQTTProtocolVersion(version),
    )
    if version == V5:
        client._clean_start = clean_session
    client._sock = wire  # type: ignore[assignment]
    return client


@pytest.fixture
def wire() -> Wire:
    return Wire()


def cut(packet: bytes | bytearray) -> tuple[int, bytes]:
    ((first, body),) = FrameScanner().feed(bytes(packet))
    return first, body


def properties(packet_type: int, **values: Any) -> Properties:
    block = Properties(packet_type)
    for name, value in values.items():
        setattr(block, name, value)
    return block


# paho-mqtt


@pytest.mark.parametrize("version", [V3_1, V3_1_1, V5])
def test_paho_connect_that_says_little(wire: Wire, version: ProtocolVersion) -> None:
    paho_client(wire, version)._send_connect(60)
    first, body = wire.packet()
    assert decode_connect(body, first) == Connect(version, "c", True, 60)


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_paho_connect_that_says_much(wire: Wire, version: ProtocolVersion) -> None:
    client = paho_client(wire, version, "ein-Fledermäuschen", clean_session=False)
    client.username_pw_set("Nøctule", "pass\N{BAT}word")
    client.will_set("will/topic", b"\x00\x01\xff", 2, True)
    client._send_connect(65_535)
    first, body = wire.packet()
    assert decode_connect(body, first) == Connect(
        version,
        "ein-Fledermäuschen",
        False,
        65_535,
        Will("will/topic", b"\x00\x01\xff", 2, True),
        "Nøctule",
        "pass\N{BAT}word".encode(),
        SESSION_NEVER_EXPIRES,
    )


def test_paho_connect_with_every_property(wire: Wire) -> None:
    client = paho_client(wire, V5, "c", clean_session=False)
    client.username_pw_set("u", "p")
    client._connect_properties = properties(
        PacketTypes.CONNECT,
        SessionExpiryInterval=0xFFFFFFFF,
        ReceiveMaximum=17,
        MaximumPacketSize=0x01020304,
        TopicAliasMaximum=9,
        RequestResponseInformation=1,
        RequestProblemInformation=0,
        UserProperty=[("b", "1"), ("a", "2")],
        AuthenticationMethod="SCRAM",
        AuthenticationData=b"\x00\xff",
    )
    client.will_set(
        "w/ü",
        b"bye",
        1,
        False,
        properties(
            PacketTypes.WILLMESSAGE,
            WillDelayInterval=300,
            PayloadFormatIndicator=1,
            MessageExpiryInterval=86_400,
            ContentType="text/plain",
            ResponseTopic="r/t",
            CorrelationData=b"\x01\x00",
            UserProperty=[("z", "1"), ("a", "2"), ("z", "3")],
        ),
    )
    client._send_connect(1)
    first, body = wire.packet()
    packet = decode_connect(body, first)
    assert packet.will is not None
    assert decode_property_block(packet.will.properties, PacketType.PUBLISH) == {
        PropertyId.PAYLOAD_FORMAT_INDICATOR: 1,
        PropertyId.MESSAGE_EXPIRY_INTERVAL: 86_400,
        PropertyId.CONTENT_TYPE: "text/plain",
        PropertyId.RESPONSE_TOPIC: "r/t",
        PropertyId.CORRELATION_DATA: b"\x01\x00",
        PropertyId.USER_PROPERTY: [("z", "1"), ("a", "2"), ("z", "3")],
    }
    assert packet == Connect(
        V5,
        "c",
        False,
        1,
        Will("w/ü", b"bye", 1, False, 300, packet.will.properties),
        "u",
        b"p",
        0xFFFFFFFF,
        17,
        0x01020304,
        9,
        True,
        False,
        (("b", "1"), ("a", "2")),
        "SCRAM",
        b"\x00\xff",
    )


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_paho_subscribe(wire: Wire, version: ProtocolVersion) -> None:
    paho_client(wire, version).subscribe([("a/+/ü", 0), ("#", 1), ("$SYS/#", 2)])
    first, body = wire.packet()
    entries = (SubscriptionRequest("a/+/ü", 0), SubscriptionRequest("#", 1), SubscriptionRequest("$SYS/#", 2))
    assert decode_subscribe(body, version, first) == Subscribe(1, entries)


@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("no_local", [False, True])
@pytest.mark.parametrize("retain_as_published", [False, True])
@pytest.mark.parametrize("retain_handling", [0, 1, 2])
def test_paho_subscribe_with_every_option(
    wire: Wire, qos: int, no_local: bool, retain_as_published: bool, retain_handling: int
) -> None:
    options = SubscribeOptions(qos, no_local, retain_as_published, retain_handling)
    block = properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=16_384, UserProperty=[("k", "v")])
    paho_client(wire, V5).subscribe([("a", options), ("b", SubscribeOptions())], properties=block)
    first, body = wire.packet()
    entries = (
        SubscriptionRequest("a", qos, no_local, retain_as_published, retain_handling),
        SubscriptionRequest("b"),
    )
    assert decode_subscribe(body, V5, first) == Subscribe(1, entries, 16_384, (("k", "v"),))


@pytest.mark.parametrize("version", [V3_1, V3_1_1, V5])
def test_paho_unsubscribe(wire: Wire, version: ProtocolVersion) -> None:
    client = paho_client(wire, version)
    block = properties(PacketTypes.UNSUBSCRIBE, UserProperty=[("k", "v")]) if version == V5 else None
    client.unsubscribe(["a/#", "ü"], block)
    first, body = wire.packet()
    pairs = (("k", "v"),) if version == V5 else ()
    assert decode_unsubscribe(body, version, first) == Unsubscribe(1, ("a/#", "ü"), pairs)


def test_paho_disconnect(wire: Wire) -> None:
    for version in (V3_1, V3_1_1, V5):
        paho_client(wire, version)._send_disconnect()
        first, body = wire.packet()
        assert decode_disconnect(body, version, first) == Disconnect()
    paho_client(wire, V5)._send_disconnect(PahoReasonCode(PacketTypes.DISCONNECT, identifier=4))
    first, body = wire.packet()
    assert decode_disconnect(body, V5, first) == Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
    block = properties(
        PacketTypes.DISCONNECT, SessionExpiryInterval=7, ReasonString="so", UserProperty=[("a", "b"), ("a", "c")]
    )
    paho_client(wire, V5)._send_disconnect(PahoReasonCode(PacketTypes.DISCONNECT, identifier=0x98), block)
    first, body = wire.packet()
    expected = Disconnect(ReasonCode.ADMINISTRATIVE_ACTION, 7, "so", (("a", "b"), ("a", "c")))
    assert decode_disconnect(body, V5, first) == expected


@pytest.mark.parametrize("version", [V3_1, V3_1_1, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
@pytest.mark.parametrize("retain", [False, True])
@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_paho_publish(wire: Wire, version: ProtocolVersion, qos: int, retain: bool, size: int) -> None:
    payload = b"\xa5" * size
    paho_client(wire, version)._send_publish(
        0x1234, "tö/pic".encode(), payload, qos, retain, qos == 2, paho.MQTTMessageInfo(1)
    )
    first, body = wire.packet()
    expected = Publish("tö/pic".encode(), payload, qos, retain, qos == 2, 0x1234 if qos else 0, b"")
    assert decode_publish(first, body, version) == expected


def test_paho_publish_with_every_property(wire: Wire) -> None:
    block = properties(
        PacketTypes.PUBLISH,
        PayloadFormatIndicator=1,
        MessageExpiryInterval=0x01020304,
        TopicAlias=3,
        ResponseTopic="r/ü",
        CorrelationData=b"\x00\xff",
        ContentType="x",
        UserProperty=[("b", "1"), ("a", "2")],
    )
    paho_client(wire, V5)._send_publish(7, b"t", b"payload", 1, properties=block)
    first, body = wire.packet()
    packet = decode_publish(first, body, V5)
    assert packet[:6] == (b"t", b"payload", 1, False, False, 7)
    assert decode_property_block(packet.properties, PacketType.PUBLISH) == {
        PropertyId.PAYLOAD_FORMAT_INDICATOR: 1,
        PropertyId.MESSAGE_EXPIRY_INTERVAL: 0x01020304,
        PropertyId.TOPIC_ALIAS: 3,
        PropertyId.RESPONSE_TOPIC: "r/ü",
        PropertyId.CORRELATION_DATA: b"\x00\xff",
        PropertyId.CONTENT_TYPE: "x",
        PropertyId.USER_PROPERTY: [("b", "1"), ("a", "2")],
    }


@pytest.mark.parametrize("version", [V3_1, V3_1_1, V5])
def test_paho_acknowledgements(wire: Wire, version: ProtocolVersion) -> None:
    client = paho_client(wire, version)
    for send, packet_type in (
        (client._send_puback, PacketType.PUBACK),
        (client._send_pubrec, PacketType.PUBREC),
        (client._send_pubrel, PacketType.PUBREL),
        (client._send_pubcomp, PacketType.PUBCOMP),
    ):
        send(0xFFFE)
        first, body = wire.packet()
        assert decode_ack(first, body, version) == Ack(packet_type, 0xFFFE, 0, b"")


def test_paho_reads_what_we_write() -> None:
    """The other direction: the properties of our CONNACK, in paho's reading."""
    connack = Connack(
        session_expiry_interval_s=10,
        receive_maximum=5,
        maximum_qos=1,
        retain_available=False,
        maximum_packet_size=4096,
        assigned_client_identifier="auto-ü",
        topic_alias_maximum=7,
        reason_string="so",
        user_properties=(("b", "1"), ("a", "2")),
        wildcard_subscription_available=False,
        subscription_identifiers_available=False,
        shared_subscription_available=False,
        server_keep_alive_s=30,
        response_information="r/",
        server_reference="other",
        authentication_method="m",
        authentication_data=b"\x00",
    )
    first, body = cut(encode_connack(connack, V5))
    assert (first, body[:2]) == (0x20, b"\x00\x00")
    block = Properties(PacketTypes.CONNACK)
    assert block.unpack(body[2:])[1] == len(body) - 2
    assert block.json() == {
        "SessionExpiryInterval": 10,
        "ReceiveMaximum": 5,
        "MaximumQoS": 1,
        "RetainAvailable": 0,
        "MaximumPacketSize": 4096,
        "AssignedClientIdentifier": "auto-ü",
        "TopicAliasMaximum": 7,
        "ReasonString": "so",
        "UserProperty": [("b", "1"), ("a", "2")],
        "WildcardSubscriptionAvailable": 0,
        "SubscriptionIdentifierAvailable": 0,
        "SharedSubscriptionAvailable": 0,
        "ServerKeepAlive": 30,
        "ResponseInformation": "r/",
        "ServerReference": "other",
        "AuthenticationMethod": "m",
        "AuthenticationData": b"\x00",
    }


# gmqtt


def gmqtt_protocol(version: int) -> Any:
    """What its packet builders ask of a connection."""
    return SimpleNamespace(
        proto_ver=MQTTv50 if version == V5 else MQTTv311,
        proto_name=b"MQTT",
        id_generator=SimpleNamespace(next_id=lambda: 0xABCD),
    )


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_gmqtt_connect(version: ProtocolVersion) -> None:
    will = gmqtt.Message("w/t", b"bye", 2, True, will_delay_interval=30, content_type="x", user_property=[("k", "v")])
    of_version_5 = (
        {"session_expiry_interval": 60, "receive_maximum": 5, "user_property": [("a", "b")]} if version == V5 else {}
    )
    packet = gmqtt_package.LoginPackageFactor.build_package(
        "id", "user", "pw", True, 30, gmqtt_protocol(version), will_message=will, **of_version_5
    )
    first, body = cut(packet)
    if version == V5:
        will_block = b"\x03\x00\x01x\x26\x00\x01k\x00\x01v"
        expected = Connect(
            V5, "id", True, 30, Will("w/t", b"bye", 2, True, 30, will_block), "user", b"pw", 60, 5,
            user_properties=(("a", "b"),),
        )  # fmt: skip
    else:
        expected = Connect(V3_1_1, "id", True, 30, Will("w/t", b"bye", 2, True), "user", b"pw")
    assert decode_connect(body, first) == expected


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_gmqtt_subscribe_and_unsubscribe(version: ProtocolVersion) -> None:
    protocol = gmqtt_protocol(version)
    options = {"no_local": True, "retain_as_published": True, "retain_handling_options": 2} if version == V5 else {}
    subscriptions = [gmqtt.Subscription("a/#", 1, **options), gmqtt.Subscription("b", 2)]
    _, packet = gmqtt_package.SubscribePacket.build_package(subscriptions, protocol)
    first, body = cut(packet)
    richest = SubscriptionRequest("a/#", 1, True, True, 2) if version == V5 else SubscriptionRequest("a/#", 1)
    assert decode_subscribe(body, version, first) == Subscribe(0xABCD, (richest, SubscriptionRequest("b", 2)))
    _, packet = gmqtt_package.UnsubscribePacket.build_package(["a/#", "b"], protocol)
    first, body = cut(packet)
    assert decode_unsubscribe(body, version, first) == Unsubscribe(0xABCD, ("a/#", "b"))


@pytest.mark.parametrize("version", [V3_1_1, V5])
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_gmqtt_publish(version: ProtocolVersion, qos: int) -> None:
    message = gmqtt.Message("a/b", b"\x00\xff", qos, True, message_expiry_interval=9, topic_alias=2)
    _, packet = gmqtt_package.PublishPacket.build_package(message, gmqtt_protocol(version))
    first, body = cut(packet)
    block = b"\x02\x00\x00\x00\x09\x23\x00\x02" if version == V5 else b""
    expected = Publish(b"a/b", b"\x00\xff", qos, True, False, 0xABCD if qos else 0, block)
    assert decode_publish(first, body, version) == expected


@pytest.mark.parametrize("version", [V3_1_1, V5])
def test_gmqtt_acknowledgements_and_disconnect(version: ProtocolVersion) -> None:
    protocol = gmqtt_protocol(version)
    for command, packet_type in (
        (MQTTCommands.PUBACK, PacketType.PUBACK),
        (MQTTCommands.PUBREC, PacketType.PUBREC),
        (MQTTCommands.PUBREL | 2, PacketType.PUBREL),
        (MQTTCommands.PUBCOMP, PacketType.PUBCOMP),
    ):
        first, body = cut(gmqtt_package.CommandWithMidPacket.build_package(command, 9, False, 0, protocol.proto_ver))
        assert decode_ack(first, body, version) == Ack(packet_type, 9, 0, b"")
    first, body = cut(gmqtt_package.DisconnectPacket.build_package(protocol, reason_code=0))
    assert decode_disconnect(body, version, first) == Disconnect()
