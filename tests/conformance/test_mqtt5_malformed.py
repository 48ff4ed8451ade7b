"""MQTT 5.0: packets that break a rule, as tables of bytes: the connection ends with this code, nobody else notices.

Each row is sent whole, byte by byte, and merged with a valid packet that must have no effect.
"""

import pytest
from conformance.client import Peer, World
from conformance.marks import limits, row, statement
from conformance.packets import (
    NO_LOCAL,
    PINGREQ,
    Will,
    auth,
    block,
    connect,
    disconnect,
    packet,
    properties,
    puback,
    pubcomp,
    publish,
    pubrec,
    pubrel,
    string,
    subscribe,
    u16,
    u32,
    unsubscribe,
)

MALFORMED, PROTOCOL_ERROR, UNSUPPORTED = 0x81, 0x82, 0x84
TOPIC_NAME_INVALID = 0x90

MUST_NOT_ARRIVE = publish("t", b"must not arrive")
HOW = ("whole", "byte by byte", "merged")


async def say(peer: Peer, how: str, data: bytes, behind: bytes) -> None:
    """Send the data in one of the three ways."""
    if how == "byte by byte":
        await peer.send_bytewise(data)
    else:
        await peer.send(data, behind if how == "merged" else b"")


def raw(flags: int, *payload: bytes, props: bytes = b"") -> bytes:
    """A CONNECT with these flags, and nothing made to fit them."""
    return packet(0x10, string("MQTT"), bytes([5, flags]), u16(0), block(props), *payload)


def with_block(written: bytes) -> bytes:
    """A CONNECT whose property block is these bytes, its length among them."""
    return packet(0x10, string("MQTT"), b"\x05\x02\x00\x00", written, string("c"))


def prop(written: bytes) -> bytes:
    """A CONNECT with this property block, its length not among the bytes given."""
    return connect(properties=written)


C = string("c")
WILL_BLOCK = block(b"")


def v(test_id: str, data: bytes, code: int, *about: str) -> object:
    return row(test_id, data, code, about=about, version=5)


# --- the first packet ---------------------------------------------------------------------

BAD_CONNECTS = [
    v("reserved flag", raw(0x03, C), MALFORMED, "MQTT-3.1.2-3", "MQTT-3.1.4-1"),
    v("will QoS 1 without a will", raw(0x0A, C), MALFORMED, "MQTT-3.1.2-11"),
    v("will QoS 2 without a will", raw(0x12, C), MALFORMED, "MQTT-3.1.2-11"),
    v("will QoS 3 without a will", raw(0x1A, C), MALFORMED, "MQTT-3.1.2-11"),
    v("will QoS 3", raw(0x1E, C, WILL_BLOCK, string("w"), string("")), MALFORMED, "MQTT-3.1.2-12"),
    v("will retain without a will", raw(0x22, C), MALFORMED, "MQTT-3.1.2-13"),
    v("will flag, no will at all", raw(0x06, C), MALFORMED, "MQTT-3.1.2-9"),
    v("will flag, properties alone", raw(0x06, C, WILL_BLOCK), MALFORMED, "MQTT-3.1.2-9"),
    v("will flag, no payload", raw(0x06, C, WILL_BLOCK, string("w")), MALFORMED, "MQTT-3.1.2-9"),
    v("will flag, payload cut short", raw(0x06, C, WILL_BLOCK, string("w"), b"\0\5no"), MALFORMED, "MQTT-3.1.2-9"),
    v("a will without will flag", raw(0x02, C, WILL_BLOCK, string("w"), string("")), MALFORMED, "MQTT-3.1.4-1"),
    v("user name without its flag", raw(0x02, C, string("u")), MALFORMED, "MQTT-3.1.2-16"),
    v("user name flag, no user name", raw(0x82, C), MALFORMED, "MQTT-3.1.2-17"),
    v("user name cut short", raw(0x82, C, b"\0\5no"), MALFORMED, "MQTT-3.1.2-17"),
    v("password without its flag", raw(0x82, C, string("u"), string("p")), MALFORMED, "MQTT-3.1.2-18"),
    v("password flag, no password", raw(0xC2, C, string("u")), MALFORMED, "MQTT-3.1.2-19"),
    v("password flag alone, no password", raw(0x42, C), MALFORMED, "MQTT-3.1.2-19"),
    v("password cut short", raw(0x42, C, b"\0\5no"), MALFORMED, "MQTT-3.1.2-19"),
    v("no client identifier", raw(0x02), MALFORMED, "MQTT-3.1.3-3", "MQTT-3.1.3-1"),
    v("client identifier cut short", raw(0x02, b"\0\5no"), MALFORMED, "MQTT-3.1.3-3", "MQTT-3.1.4-1"),
    v("half a length", raw(0x02, b"\0"), MALFORMED, "MQTT-3.1.3-3"),
    v("a byte left over", raw(0x02, C, b"\0"), MALFORMED, "MQTT-3.1.4-1"),
    v("no property length", packet(0x10, string("MQTT"), b"\x05\x02\x00\x00"), MALFORMED, "MQTT-2.2.2-1"),
    v("keep alive cut short", packet(0x10, string("MQTT"), b"\x05\x02\x00"), MALFORMED, "MQTT-3.1.4-1"),
    v("no flags", packet(0x10, string("MQTT"), b"\x05"), MALFORMED, "MQTT-3.1.4-1"),
    v("empty will topic", connect(will=Will("")), TOPIC_NAME_INVALID, "MQTT-4.7.3-1"),
    v("will topic with +", connect(will=Will("w/+")), TOPIC_NAME_INVALID, "MQTT-4.7.0-1"),
    v("will topic with #", connect(will=Will("#")), TOPIC_NAME_INVALID, "MQTT-4.7.0-1"),
    v("property length not minimal", with_block(b"\x80\x00"), MALFORMED, "MQTT-1.5.5-1"),
    v(
        "property length not minimal, three bytes",
        with_block(b"\x85\x80\x00"),
        MALFORMED,
        "MQTT-1.5.5-1",
    ),
    v("property length of five bytes", with_block(b"\x80\x80\x80\x80\x01"), MALFORMED, "MQTT-1.5.5-1"),
    v("property length beyond the packet", with_block(b"\x7f"), MALFORMED, "5-unnumbered-property-block"),
    v(
        "property length within a property",
        with_block(b"\x02\x11\0\0\0\5"),
        MALFORMED,
        "5-unnumbered-property-block",
    ),
    v("property cut short", prop(b"\x11\0\0"), MALFORMED, "5-unnumbered-property-block"),
    v("string property cut short", prop(b"\x15\0\5no"), MALFORMED, "5-unnumbered-property-block"),
    v("string pair without its value", prop(b"\x26" + string("n")), MALFORMED, "5-unnumbered-property-block"),
    v("property 0", prop(b"\x00"), MALFORMED, "5-unnumbered-unknown-property"),
    v("property 4", prop(b"\x04\x00"), MALFORMED, "5-unnumbered-unknown-property"),
    v("property 0x2B", prop(b"\x2b\x00"), MALFORMED, "5-unnumbered-unknown-property"),
    v("property 0x7F", prop(b"\x7f"), MALFORMED, "5-unnumbered-unknown-property"),
    v("property identifier of two bytes", prop(b"\x80\x01"), MALFORMED, "5-unnumbered-unknown-property"),
    v("property identifier not minimal", prop(b"\x91\x00\0\0\0\5"), MALFORMED, "MQTT-1.5.5-1"),
    v("topic alias", prop(properties(topic_alias=1)), MALFORMED, "5-unnumbered-property-of-another-packet"),
    v("reason string", prop(properties(reason_string="no")), MALFORMED, "5-unnumbered-property-of-another-packet"),
    v("server keep alive", prop(properties(server_keep_alive=1)), MALFORMED, "5-unnumbered-property-of-another-packet"),
    v("maximum QoS", prop(properties(maximum_qos=1)), MALFORMED, "5-unnumbered-property-of-another-packet"),
    v(
        "will delay outside the will",
        prop(properties(will_delay_interval=1)),
        MALFORMED,
        "5-unnumbered-property-of-another-packet",
    ),
    v(
        "session expiry in the will",
        connect(will=Will("w", properties=properties(session_expiry_interval=1))),
        MALFORMED,
        "5-unnumbered-property-of-another-packet",
    ),
    v(
        "topic alias in the will",
        connect(will=Will("w", properties=properties(topic_alias=1))),
        MALFORMED,
        "5-unnumbered-property-of-another-packet",
    ),
    *(
        v(f"{name} twice", prop(properties(**{name: [value, value]})), PROTOCOL_ERROR, "5-unnumbered-property-twice")
        for name, value in {
            "session_expiry_interval": 1,
            "receive_maximum": 1,
            "maximum_packet_size": 100,
            "topic_alias_maximum": 0,
            "request_response_information": 0,
            "request_problem_information": 1,
            "authentication_method": "m",
        }.items()
    ),
    v(
        "authentication data twice",
        prop(properties(authentication_method="m", authentication_data=["a", "b"])),
        PROTOCOL_ERROR,
        "5-unnumbered-property-twice",
    ),
    *(
        v(
            f"{name} twice in the will",
            connect(will=Will("w", properties=properties(**{name: [value, value]}))),
            PROTOCOL_ERROR,
            "5-unnumbered-property-twice",
        )
        for name, value in {
            "will_delay_interval": 1,
            "payload_format_indicator": 0,
            "message_expiry_interval": 1,
            "content_type": "t",
            "response_topic": "t",
            "correlation_data": "d",
        }.items()
    ),
    v("receive maximum 0", prop(properties(receive_maximum=0)), PROTOCOL_ERROR, "5-unnumbered-receive-maximum-0"),
    v("maximum packet size 0", prop(properties(maximum_packet_size=0)), PROTOCOL_ERROR, "5-unnumbered-packet-size-0"),
    v(
        "request response information 2",
        prop(properties(request_response_information=2)),
        PROTOCOL_ERROR,
        "5-unnumbered-request-information-2",
    ),
    v(
        "request problem information 255",
        prop(properties(request_problem_information=255)),
        PROTOCOL_ERROR,
        "5-unnumbered-request-information-2",
    ),
    v(
        "authentication data without a method",
        prop(properties(authentication_data="d")),
        PROTOCOL_ERROR,
        "5-unnumbered-authentication-data-alone",
    ),
    v(
        "payload format 2 of the will",
        connect(will=Will("w", properties=properties(payload_format_indicator=2))),
        PROTOCOL_ERROR,
        "5-unnumbered-payload-format-2",
    ),
    v(
        "will with a wildcard in its response topic",
        connect(will=Will("w", properties=properties(response_topic="a/#"))),
        PROTOCOL_ERROR,
        "MQTT-3.3.2-14",
    ),
    v("version 6", connect(level=6), UNSUPPORTED, "MQTT-3.1.2-2"),
    v("version 127", connect(level=127), UNSUPPORTED, "MQTT-3.1.2-2"),
]


@pytest.mark.parametrize(("data", "code"), BAD_CONNECTS)
@statement("MQTT-3.2.2-7", "MQTT-4.13.2-1", "MQTT-3.14.0-1", "MQTT-3.1.4-6", version=5)
async def test_a_connect_that_breaks_a_rule_is_refused(world: World, data: bytes, code: int) -> None:
    everything = await world.subscriber("#", client_id="everything")
    for how in HOW:
        peer = await world.open()
        await say(peer, how, data, MUST_NOT_ARRIVE)
        refusal = await peer.expect_refusal(code)
        assert not refusal.session_present
    assert world.session("c") is None
    await everything.expect_nothing()


SILENTLY_CLOSED = [
    v("PINGREQ", PINGREQ, 0, "MQTT-3.1.0-1"),
    v("PUBLISH", publish("t", b"x"), 0, "MQTT-3.1.0-1"),
    v("SUBSCRIBE", subscribe("t"), 0, "MQTT-3.1.0-1"),
    v("UNSUBSCRIBE", unsubscribe("t"), 0, "MQTT-3.1.0-1"),
    v("PUBACK", puback(1), 0, "MQTT-3.1.0-1"),
    v("PUBREL", pubrel(1), 0, "MQTT-3.1.0-1"),
    v("DISCONNECT", disconnect(), 0, "MQTT-3.1.0-1"),
    v("AUTH", auth(0x18, properties(authentication_method="m")), 0, "MQTT-3.1.0-1"),
    v("CONNACK", b"\x20\x03\0\0\0", 0, "MQTT-3.1.0-1"),
    v("packet type 0", b"\0\0", 0, "MQTT-3.1.0-1"),
    v("reserved flags of CONNECT", connect(first=0x11), 0, "MQTT-2.1.3-1"),
    v("all flags of CONNECT", connect(first=0x1F), 0, "MQTT-2.1.3-1"),
    v("protocol name HTTP", connect(name="HTTP"), 0, "MQTT-3.1.2-1"),
    v("protocol name mqtt", connect(name="mqtt"), 0, "MQTT-3.1.2-1"),
    v("protocol name MQTT and more", connect(name="MQTTX"), 0, "MQTT-3.1.2-1"),
    v("no protocol name", connect(name=""), 0, "MQTT-3.1.2-1"),
    v("protocol name ill-formed", connect(name=b"MQT\xff"), 0, "MQTT-3.1.2-1"),
    v("an empty CONNECT", b"\x10\0", 0, "MQTT-3.1.4-1"),
    v("remaining length of five bytes", b"\x10\x80\x80\x80\x80\x01", 0, "MQTT-1.5.5-1"),
    v("HTTP", b"GET / HTTP/1.1\r\n\r\n", 0, "MQTT-3.1.0-1"),
    v("TLS", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03", 0, "MQTT-3.1.0-1"),
]


@pytest.mark.parametrize(("data", "nothing"), SILENTLY_CLOSED)
@statement("MQTT-3.14.0-1", version=5)
async def test_what_is_no_connect_of_version_5_is_closed_without_a_word(
    world: World, data: bytes, nothing: int
) -> None:
    everything = await world.subscriber("#", client_id="everything")
    for how in HOW:
        peer = await world.open()
        await say(peer, how, data, connect() + MUST_NOT_ARRIVE)
        await peer.expect_closed()
    await everything.expect_nothing()
    assert world.session("c") is None


@statement("5-unnumbered-connect-in-time", version=5)
@limits(connect_timeout_s=10.0)
async def test_every_prefix_of_a_connect_waits_and_is_closed_in_the_end(world: World) -> None:
    whole = connect(
        properties=properties(session_expiry_interval=5), will=Will("w", b"x"), user_name="u", password=b"p"
    )
    waiting = []
    for size in range(len(whole)):
        peer = await world.open()
        await peer.send(whole[:size])
        waiting.append(peer)
    await world.after(9.9)
    for peer in waiting:
        await peer.expect_nothing()
    await world.after(0.2)
    for peer in waiting:
        await peer.expect_closed()


# --- later packets ------------------------------------------------------------------------


def unknown(first: int, head: bytes, tail: bytes = b"") -> bytes:
    return packet(first, head, b"\x02\x7e\x00", tail)


FORBIDDEN = "5-unnumbered-property-of-another-packet"
UNKNOWN = "5-unnumbered-unknown-property"
TWICE = "5-unnumbered-property-twice"
CUT = "5-unnumbered-property-block"
TRUNCATED = "5-unnumbered-cut-short"
LEFT_OVER = "5-unnumbered-left-over"
DIRECTION = "5-unnumbered-direction"
ONE = b"\0\1"

#: In whose packets which property stands, for those that a client sends: how to make one with this block.
MAKE = {
    "PUBLISH": lambda props: publish("t", qos=1, properties=props),
    "PUBACK": lambda props: puback(1, 0, props),
    "PUBREC": lambda props: pubrec(1, 0, props),
    "PUBREL": lambda props: pubrel(1, 0, props),
    "PUBCOMP": lambda props: pubcomp(1, 0, props),
    "SUBSCRIBE": lambda props: subscribe("t", properties=props),
    "UNSUBSCRIBE": lambda props: unsubscribe("t", properties=props),
    "DISCONNECT": lambda props: disconnect(0, props),
}

EXAMPLES = {
    "payload_format_indicator": 0,
    "message_expiry_interval": 1,
    "content_type": "t",
    "response_topic": "t",
    "correlation_data": "d",
    "subscription_identifier": 1,
    "session_expiry_interval": 0,
    "assigned_client_identifier": "c",
    "server_keep_alive": 1,
    "authentication_method": "m",
    "authentication_data": "d",
    "request_problem_information": 0,
    "will_delay_interval": 1,
    "request_response_information": 0,
    "response_information": "r",
    "server_reference": "s",
    "reason_string": "r",
    "receive_maximum": 1,
    "topic_alias_maximum": 1,
    "topic_alias": 1,
    "maximum_qos": 1,
    "retain_available": 1,
    "user_property": ("n", "v"),
    "maximum_packet_size": 100,
    "wildcard_subscription_available": 1,
    "subscription_identifiers_available": 1,
    "shared_subscription_available": 1,
}

#: 2.2.2.2, table 2-4. Subscription Identifier in a client's PUBLISH is a protocol error of its own [MQTT-3.3.4-6].
ALLOWED = {
    "PUBLISH": {
        "payload_format_indicator",
        "message_expiry_interval",
        "content_type",
        "response_topic",
        "correlation_data",
        "topic_alias",
        "user_property",
        "subscription_identifier",
    },
    **{name: {"reason_string", "user_property"} for name in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP")},
    "SUBSCRIBE": {"subscription_identifier", "user_property"},
    "UNSUBSCRIBE": {"user_property"},
    "DISCONNECT": {"session_expiry_interval", "reason_string", "user_property", "server_reference"},
}

PROPERTY_ROWS = [
    *(
        v(f"{name} with {prop_name}", make(properties(**{prop_name: value})), MALFORMED, FORBIDDEN)
        for name, make in MAKE.items()
        for prop_name, value in EXAMPLES.items()
        if prop_name not in ALLOWED[name]
    ),
    *(
        v(f"{name} with {prop_name} twice", make(properties(**{prop_name: [value] * 2})), PROTOCOL_ERROR, TWICE)
        for name, make in MAKE.items()
        for prop_name, value in EXAMPLES.items()
        if prop_name in ALLOWED[name] - {"user_property", "topic_alias"}
    ),
    v("topic alias twice", publish("t", properties=properties(topic_alias=[1, 1])), PROTOCOL_ERROR, TWICE),
    *(v(f"{name} with property 0x7E", make(b"\x7e\x00"), MALFORMED, UNKNOWN) for name, make in MAKE.items()),
    *(v(f"{name} with property 0", make(b"\x00"), MALFORMED, UNKNOWN) for name, make in MAKE.items()),
    *(
        v(f"{name} with a user property cut short", make(b"\x26" + string("n") + b"\0\5no"), MALFORMED, CUT)
        for name, make in MAKE.items()
    ),
]

FLAGS = "MQTT-2.1.3-1"


def with_flags(data: bytes, flags: int) -> bytes:
    return bytes([data[0] & 0xF0 | flags]) + data[1:]


FLAG_ROWS = [
    *(v(f"PUBACK, flags {f:04b}", with_flags(puback(1), f), MALFORMED, FLAGS) for f in (1, 2, 4, 8, 15)),
    *(v(f"PUBREC, flags {f:04b}", with_flags(pubrec(1), f), MALFORMED, FLAGS) for f in (1, 2, 4, 8, 15)),
    *(v(f"PUBCOMP, flags {f:04b}", with_flags(pubcomp(1), f), MALFORMED, FLAGS) for f in (1, 2, 4, 8, 15)),
    *(v(f"PINGREQ, flags {f:04b}", with_flags(PINGREQ, f), MALFORMED, FLAGS) for f in (1, 2, 4, 8, 15)),
    *(
        v(f"PUBREL, flags {f:04b}", with_flags(pubrel(1), f), MALFORMED, FLAGS, "MQTT-3.6.1-1")
        for f in (0, 1, 3, 6, 10, 15)
    ),
    *(
        v(f"SUBSCRIBE, flags {f:04b}", with_flags(subscribe("t"), f), MALFORMED, FLAGS, "MQTT-3.8.1-1")
        for f in (0, 1, 3, 6, 10, 15)
    ),
    *(
        v(f"UNSUBSCRIBE, flags {f:04b}", with_flags(unsubscribe("t"), f), MALFORMED, FLAGS, "MQTT-3.10.1-1")
        for f in (0, 1, 3, 6, 10, 15)
    ),
    *(
        v(f"DISCONNECT, flags {f:04b}", with_flags(disconnect(), f), MALFORMED, FLAGS, "MQTT-3.14.1-1")
        for f in (1, 2, 4, 8, 15)
    ),
    *(
        v(
            f"AUTH, flags {f:04b}",
            with_flags(auth(0x19, properties(authentication_method="m")), f),
            MALFORMED,
            FLAGS,
            "MQTT-3.15.1-1",
        )
        for f in (1, 2, 4, 8, 15)
    ),
    v("PUBLISH at QoS 3", packet(0x36, string("t"), ONE, b"\0"), MALFORMED, "MQTT-3.3.1-4"),
    v("PUBLISH at QoS 3, retained, DUP", packet(0x3F, string("t"), ONE, b"\0"), MALFORMED, "MQTT-3.3.1-4"),
    v("PUBLISH at QoS 0 with DUP", packet(0x38, string("t"), b"\0"), MALFORMED, "MQTT-3.3.1-2"),
]

PUBLISH_ROWS = [
    v("PUBLISH of nothing", b"\x30\0", MALFORMED, "MQTT-3.3.2-1"),
    v("PUBLISH of half a length", packet(0x30, b"\0"), MALFORMED, "MQTT-3.3.2-1"),
    v("PUBLISH, topic cut short", packet(0x30, b"\0\5no"), MALFORMED, "MQTT-3.3.2-1"),
    v("PUBLISH without property length", packet(0x30, string("t")), MALFORMED, "MQTT-2.2.2-1"),
    v("PUBLISH at QoS 1 without packet identifier", packet(0x32, string("t")), MALFORMED, TRUNCATED),
    v("PUBLISH at QoS 1 with half of it", packet(0x32, string("t"), b"\0"), MALFORMED, TRUNCATED),
    v("PUBLISH at QoS 1, no property length", packet(0x32, string("t"), ONE), MALFORMED, "MQTT-2.2.2-1"),
    v("PUBLISH at QoS 1, packet identifier 0", publish("t", b"x", 1, 0), PROTOCOL_ERROR, "MQTT-2.2.1-3"),
    v("PUBLISH at QoS 2, packet identifier 0", publish("t", b"x", 2, 0), PROTOCOL_ERROR, "MQTT-2.2.1-3"),
    v("PUBLISH, block beyond the packet", packet(0x30, string("t"), b"\x05\x01\x00"), MALFORMED, CUT),
    v("PUBLISH, block length not minimal", packet(0x30, string("t"), b"\x80\x00"), MALFORMED, "MQTT-1.5.5-1"),
    v("PUBLISH, block length 82 80 00", packet(0x30, string("t"), b"\x82\x80\x00\x01\x00"), MALFORMED, "MQTT-1.5.5-1"),
    v(
        "PUBLISH, block length of five bytes",
        packet(0x30, string("t"), b"\x80\x80\x80\x80\x01"),
        MALFORMED,
        "MQTT-1.5.5-1",
    ),
    v("remaining length not minimal", b"\x30\x84\x00" + string("t") + b"\0", MALFORMED, "MQTT-1.5.5-1"),
    v("remaining length 80 00", b"\xc0\x80\x00", MALFORMED, "MQTT-1.5.5-1"),
    v("remaining length of five bytes", b"\x30\x80\x80\x80\x80\x01", MALFORMED, "MQTT-1.5.5-1"),
    v("remaining length FF FF FF FF", b"\x30\xff\xff\xff\xff", MALFORMED, "MQTT-1.5.5-1"),
    v("topic +", publish("+"), TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    v("topic #", publish("#"), TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    v("topic a/+/b", publish("a/+/b", qos=1), TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    v("topic a+", publish("a+", qos=2), TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    v("topic a/#", publish("a/#", retain=True), TOPIC_NAME_INVALID, "MQTT-3.3.2-2", "MQTT-4.7.0-1"),
    v(
        "topic with a wildcard for an alias",
        publish("a/#", properties=properties(topic_alias=1)),
        TOPIC_NAME_INVALID,
        "MQTT-3.3.2-2",
    ),
    v("no topic and no alias", publish(""), PROTOCOL_ERROR, "MQTT-4.7.3-1", "5-unnumbered-no-topic-no-alias"),
    v("no topic and no alias at QoS 1", publish("", qos=1), PROTOCOL_ERROR, "5-unnumbered-no-topic-no-alias"),
    v("no topic and no alias at QoS 2", publish("", qos=2), PROTOCOL_ERROR, "5-unnumbered-no-topic-no-alias"),
    v("unknown alias", publish("", properties=properties(topic_alias=5)), PROTOCOL_ERROR, "5-unnumbered-unknown-alias"),
    v("alias 0", publish("t", properties=properties(topic_alias=0)), 0x94, "MQTT-3.3.2-8"),
    v(
        "alias above the maximum",
        publish("t", properties=properties(topic_alias=33)),
        0x94,
        "MQTT-3.3.2-9",
        "MQTT-3.2.2-17",
    ),
    v("alias 65535", publish("t", properties=properties(topic_alias=65_535)), 0x94, "MQTT-3.3.2-9"),
    v(
        "payload format 2",
        publish("t", properties=properties(payload_format_indicator=2)),
        PROTOCOL_ERROR,
        "5-unnumbered-payload-format-2",
    ),
    v(
        "response topic with +",
        publish("t", properties=properties(response_topic="a/+")),
        PROTOCOL_ERROR,
        "MQTT-3.3.2-14",
    ),
    v(
        "response topic with #",
        publish("t", qos=1, properties=properties(response_topic="#")),
        PROTOCOL_ERROR,
        "MQTT-3.3.2-14",
    ),
    v(
        "subscription identifier",
        publish("t", properties=properties(subscription_identifier=1)),
        PROTOCOL_ERROR,
        "MQTT-3.3.4-6",
    ),
    v(
        "subscription identifier at QoS 2",
        publish("t", qos=2, properties=properties(subscription_identifier=1)),
        PROTOCOL_ERROR,
        "MQTT-3.3.4-6",
    ),
]

#: Reason codes that each packet has, of those that exist; every other byte is none.
REASON_CODES = {
    "PUBACK": (puback, {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, "MQTT-3.4.2-1"),
    "PUBREC": (pubrec, {0, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}, "MQTT-3.5.2-1"),
    "PUBREL": (pubrel, {0, 0x92}, "MQTT-3.6.2-1"),
    "PUBCOMP": (pubcomp, {0, 0x92}, "MQTT-3.7.2-1"),
}

ACK_ROWS = [
    *(
        row(f"{name} of nothing", make(1)[:1] + b"\0", MALFORMED, about=TRUNCATED, version=5)
        for name, (make, _, _) in REASON_CODES.items()
    ),
    *(
        row(f"{name} with half an identifier", make(1)[:1] + b"\1\0", MALFORMED, about=TRUNCATED, version=5)
        for name, (make, _, _) in REASON_CODES.items()
    ),
    *(
        row(f"{name} and a byte more", make(1, 0, b"")[:1] + b"\5\0\1\0\0\0", MALFORMED, about=LEFT_OVER, version=5)
        for name, (make, _, _) in REASON_CODES.items()
    ),
    *(
        row(f"{name}, block beyond the packet", make(1)[:1] + b"\4\0\1\0\5", MALFORMED, about=CUT, version=5)
        for name, (make, _, _) in REASON_CODES.items()
    ),
    *(
        row(f"{name}, packet identifier 0", make(0), PROTOCOL_ERROR, about="5-unnumbered-ack-of-0", version=5)
        for name, (make, _, _) in REASON_CODES.items()
    ),
]

SUBSCRIBE_ROWS = [
    v("SUBSCRIBE of nothing", b"\x82\0", MALFORMED, TRUNCATED),
    v("SUBSCRIBE without property length", packet(0x82, ONE), MALFORMED, "MQTT-2.2.2-1"),
    v("SUBSCRIBE, packet identifier 0", subscribe("t", packet_id=0), PROTOCOL_ERROR, "MQTT-2.2.1-3"),
    v("SUBSCRIBE to nothing", subscribe(), PROTOCOL_ERROR, "MQTT-3.8.3-2"),
    v("SUBSCRIBE ends behind the filter", packet(0x82, ONE, b"\0", string("t")), MALFORMED, TRUNCATED),
    v(
        "SUBSCRIBE ends behind the second filter",
        packet(0x82, ONE, b"\0", string("t"), b"\0", string("u")),
        MALFORMED,
        TRUNCATED,
    ),
    v("SUBSCRIBE, filter cut short", packet(0x82, ONE, b"\0", b"\0\5no"), MALFORMED, TRUNCATED),
    v("SUBSCRIBE, options 0x40", subscribe(("t", 0x40)), MALFORMED, "MQTT-3.8.3-5"),
    v("SUBSCRIBE, options 0x80", subscribe(("t", 0x80)), MALFORMED, "MQTT-3.8.3-5"),
    v("SUBSCRIBE, options 0xC0 of the second", subscribe("t", ("u", 0xC2)), MALFORMED, "MQTT-3.8.3-5"),
    v("SUBSCRIBE at QoS 3", subscribe(("t", 3)), PROTOCOL_ERROR, "5-unnumbered-subscribe-qos-3"),
    v("SUBSCRIBE, retain handling 3", subscribe(("t", 0x30)), PROTOCOL_ERROR, "5-unnumbered-retain-handling-3"),
    v("SUBSCRIBE, no local on a share", subscribe(("$share/g/t", NO_LOCAL)), PROTOCOL_ERROR, "MQTT-3.8.3-4"),
    v(
        "SUBSCRIBE, identifier 0",
        subscribe("t", properties=b"\x0b\x00"),
        PROTOCOL_ERROR,
        "5-unnumbered-subscription-identifier-0",
    ),
    v("SUBSCRIBE, identifier not minimal", subscribe("t", properties=b"\x0b\x81\x00"), MALFORMED, "MQTT-1.5.5-1"),
    v(
        "SUBSCRIBE, identifier of five bytes",
        subscribe("t", properties=b"\x0b\x80\x80\x80\x80\x01"),
        MALFORMED,
        "MQTT-1.5.5-1",
    ),
    v("UNSUBSCRIBE of nothing", b"\xa2\0", MALFORMED, TRUNCATED),
    v("UNSUBSCRIBE without property length", packet(0xA2, ONE), MALFORMED, "MQTT-2.2.2-1"),
    v("UNSUBSCRIBE, packet identifier 0", unsubscribe("t", packet_id=0), PROTOCOL_ERROR, "MQTT-2.2.1-3"),
    v("UNSUBSCRIBE from nothing", unsubscribe(), PROTOCOL_ERROR, "MQTT-3.10.3-2"),
    v("UNSUBSCRIBE, filter cut short", packet(0xA2, ONE, b"\0", b"\0\5no"), MALFORMED, TRUNCATED),
    v("UNSUBSCRIBE, half a length", packet(0xA2, ONE, b"\0", string("t"), b"\0"), MALFORMED, TRUNCATED),
]

OTHER_ROWS = [
    v("second CONNECT", connect("other"), PROTOCOL_ERROR, "MQTT-3.1.0-2", "MQTT-3.2.0-2"),
    v("second CONNECT of 3.1.1", connect("other", 4), PROTOCOL_ERROR, "MQTT-3.1.0-2"),
    v("second CONNECT with reserved flags", connect(first=0x11), MALFORMED, FLAGS),
    v("CONNACK", b"\x20\x03\0\0\0", PROTOCOL_ERROR, DIRECTION),
    v("SUBACK", packet(0x90, ONE, b"\0\0"), PROTOCOL_ERROR, DIRECTION),
    v("UNSUBACK", packet(0xB0, ONE, b"\0\0"), PROTOCOL_ERROR, DIRECTION),
    v("PINGRESP", b"\xd0\0", PROTOCOL_ERROR, DIRECTION),
    v("packet type 0", b"\0\0", MALFORMED, "5-unnumbered-packet-type-0"),
    v("packet type 0 with flags and a body", b"\x0f\2ab", MALFORMED, "5-unnumbered-packet-type-0"),
    v("PINGREQ with a body", b"\xc0\1\0", MALFORMED, LEFT_OVER),
    v("DISCONNECT and a byte more", packet(0xE0, b"\0\0\0"), MALFORMED, LEFT_OVER),
    v("DISCONNECT, block beyond the packet", packet(0xE0, b"\0\5"), MALFORMED, CUT),
    v("AUTH that nobody asked for", auth(0x19, properties(authentication_method="m")), PROTOCOL_ERROR, "MQTT-4.12.0-7"),
    v("AUTH of nothing", auth(), PROTOCOL_ERROR, "MQTT-4.12.0-7"),
    v(
        "session expiry in DISCONNECT where CONNECT had none",
        disconnect(0, properties(session_expiry_interval=5)),
        PROTOCOL_ERROR,
        "5-unnumbered-expiry-at-disconnect",
    ),
    *(
        v(f"DISCONNECT with code {code:#04x}", disconnect(code), PROTOCOL_ERROR, "MQTT-3.14.2-1")
        for code in (0x01, 0x02, 0x10, 0x18, 0x84, 0x85, 0x8B, 0x8D, 0x8E, 0x92, 0x9C, 0xA2, 0xFF)
    ),
]


@pytest.mark.parametrize(
    ("data", "code"), PROPERTY_ROWS + FLAG_ROWS + PUBLISH_ROWS + ACK_ROWS + SUBSCRIBE_ROWS + OTHER_ROWS
)
@statement("MQTT-4.13.1-1", "MQTT-4.13.2-1", "MQTT-3.14.4-1", "MQTT-3.14.4-2", version=5)
async def test_a_packet_that_breaks_a_rule_ends_its_connection(world: World, data: bytes, code: int) -> None:
    everything = await world.subscriber("#", client_id="everything")
    for how in HOW:
        peer = await world.connect("c", will=Will("gone", b"gone"))
        await say(peer, how, data, MUST_NOT_ARRIVE)
        ending = await peer.expect_end(code)
        assert ending is not None
        assert "session_expiry_interval" not in ending.properties
        message = await everything.expect_message()
        assert (message.topic, message.payload) == ("gone", b"gone")
    await everything.expect_nothing()


@pytest.mark.parametrize(
    ("make", "legal"),
    [row(name, make, legal, about=about, version=5) for name, (make, legal, about) in REASON_CODES.items()],
)
async def test_an_acknowledgement_has_a_code_of_its_table(world: World, make: object, legal: set[int]) -> None:
    assert callable(make)
    for code in range(256):
        peer = await world.connect()
        await peer.send(make(777, code))
        if code in legal:
            await peer.received()
            await peer.expect_alive()
        else:
            await peer.expect_end(PROTOCOL_ERROR)


@statement("MQTT-3.14.2-1", version=5)
async def test_disconnect_takes_the_codes_of_a_client(world: World) -> None:
    legal = {0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99}
    for code in range(256):
        peer = await world.connect()
        await peer.send(disconnect(code))
        if code in legal:
            await peer.expect_closed()
        else:
            await peer.expect_end(PROTOCOL_ERROR)


@statement("MQTT-3.2.2-15", "5-unnumbered-packet-too-large", version=5)
@limits(packet_max_bytes=100)
async def test_a_packet_above_the_maximum_size_ends_the_connection(world: World) -> None:
    everything = await world.subscriber("#", client_id="everything")
    peer = await world.connect()
    assert peer.connack.properties["maximum_packet_size"] == 100
    largest = publish("t", bytes(94))
    assert len(largest) == 100
    await peer.send(largest)
    assert (await everything.expect_message()).payload == bytes(94)
    for too_large in (publish("t", bytes(95)), subscribe("t" * 95), unsubscribe("t" * 95)):
        assert len(too_large) > 100
        for how in (*HOW, "announced"):
            peer = await world.connect()
            if how == "announced":
                await peer.send(too_large[:2])  # its header alone tells
            else:
                await say(peer, how, too_large, MUST_NOT_ARRIVE)
            await peer.expect_end(0x95)
    await everything.expect_nothing()


@statement("5-unnumbered-cut-short", version=5)
async def test_every_prefix_of_a_packet_waits_for_the_rest(world: World) -> None:
    """Nothing happens before its last byte; a connection that ends within it takes it along."""
    props = properties(content_type="text", user_property=[("n", "v")])
    valid = {
        "PUBLISH": publish("t", b"x", 1, 7, properties=props),
        "SUBSCRIBE": subscribe("a", ("b/#", 1), packet_id=7, properties=properties(subscription_identifier=300)),
        "UNSUBSCRIBE": unsubscribe("a", packet_id=7),
        "PUBREL": pubrel(7, 0x92, properties(reason_string="why")),
        "PINGREQ": PINGREQ,
    }
    everything = await world.subscriber("#", client_id="everything")
    for name, data in valid.items():
        for size in range(len(data)):
            peer = await world.connect()
            await peer.send(data[:size])
            await peer.expect_nothing()
            await peer.drop()
        await everything.expect_nothing()
        peer = await world.connect()
        await peer.send(data)
        assert len(await peer.received()) == 1, name
        assert await everything.payloads() == ([b"x"] if name == "PUBLISH" else [])


@statement("MQTT-1.5.5-1", version=5)
async def test_a_property_length_of_three_bytes_is_read(world: World) -> None:
    subscriber = await world.subscriber("t")
    publisher = await world.connect("p")
    pairs = [("n", "x" * 6_000)] * 3
    await publisher.publish("t", b"x", properties=properties(user_property=pairs))
    assert (await subscriber.expect_message()).properties["user_property"] == pairs


@statement("MQTT-2.1.3-1", version=5)
async def test_reserved_bits_are_checked_before_the_body(world: World) -> None:
    """A packet of wrong flags is malformed whatever follows."""
    peer = await world.connect()
    await peer.send(packet(0x4F, u32(0)))
    await peer.expect_end(MALFORMED)
