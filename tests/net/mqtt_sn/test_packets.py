"""MQTT-SN's messages as bytes: a table of every one, in both directions, and of those that are broken."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from noctule.net.mqtt_sn.messages import (
    Advertise,
    Connack,
    Connect,
    Disconnect,
    Encapsulated,
    GatewayInfo,
    Message,
    MessageType,
    Pingreq,
    Pingresp,
    Puback,
    Pubcomp,
    Publish,
    Pubrec,
    Pubrel,
    Regack,
    Register,
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
    short_topic_id,
)
from noctule.net.mqtt_sn.packets import decode, encode
from noctule.protocol import PacketError

NORMAL, PREDEFINED, SHORT = TopicIdType

MESSAGES: dict[str, tuple[bytes, Message]] = {
    "ADVERTISE (5.4.1)": (b"\x05\x00\x07\x03\x84", Advertise(7, 900)),
    "SEARCHGW (5.4.2)": (b"\x03\x01\x01", SearchGateway(1)),
    "GWINFO of a gateway (5.4.3)": (b"\x03\x02\x07", GatewayInfo(7)),
    "GWINFO of a client": (b"\x07\x02\x07\x0a\x00\x00\x01", GatewayInfo(7, b"\x0a\x00\x00\x01")),
    "CONNECT (5.4.4)": (b"\x09\x04\x04\x01\x00\x3cdev", Connect("dev", 60)),
    "CONNECT, session kept": (b"\x07\x04\x00\x01\x00\x00d", Connect("d", 0, clean_session=False)),
    "CONNECT with Will": (b"\x07\x04\x0c\x01\xff\xffd", Connect("d", 65535, will=True)),
    "CONNECT, both": (b"\x07\x04\x08\x01\x00\x01d", Connect("d", 1, clean_session=False, will=True)),
    "CONNECT without client identifier": (b"\x06\x04\x04\x01\x00\x01", Connect("", 1)),
    "CONNECT of another protocol": (b"\x07\x04\x04\x02\x00\x01d", Connect("d", 1, protocol_id=2)),
    "CONNACK (5.4.5)": (b"\x03\x05\x01", Connack(1)),
    "WILLTOPICREQ (5.4.6)": (b"\x02\x06", WillTopicRequest()),
    "WILLTOPIC (5.4.7)": (b"\x06\x07\x30w/t", WillTopic("w/t", 1, retain=True)),
    "WILLTOPIC, empty": (b"\x02\x07", WillTopic("")),
    "WILLMSGREQ (5.4.8)": (b"\x02\x08", WillMessageRequest()),
    "WILLMSG (5.4.9)": (b"\x06\x09gone", WillMessage(b"gone")),
    "WILLMSG, empty": (b"\x02\x09", WillMessage(b"")),
    "REGISTER (5.4.10)": (b"\x09\x0a\x00\x00\x12\x34a/b", Register(0, 0x1234, "a/b")),
    "REGACK (5.4.11)": (b"\x07\x0b\x00\x05\x12\x34\x00", Regack(5, 0x1234, 0)),
    "PUBLISH, QoS 0 (5.4.12)": (b"\x08\x0c\x00\x00\x05\x00\x00x", Publish(TopicId(NORMAL, 5), b"x")),
    "PUBLISH, QoS 1, retained, again": (
        b"\x08\x0c\xb0\x00\x05\x00\x07x",
        Publish(TopicId(NORMAL, 5), b"x", 1, 7, retain=True, dup=True),
    ),
    "PUBLISH, QoS 2, predefined": (b"\x07\x0c\x41\x00\x05\x00\x07", Publish(TopicId(PREDEFINED, 5), b"", 2, 7)),
    "PUBLISH, QoS -1, short": (b"\x08\x0c\x62t1\x00\x00x", Publish(TopicId(SHORT, 0x7431), b"x", -1)),
    "PUBACK (5.4.13)": (b"\x07\x0d\x00\x05\x00\x07\x02", Puback(5, 7, 2)),
    "PUBREC (5.4.14)": (b"\x04\x0f\x00\x07", Pubrec(7)),
    "PUBREL": (b"\x04\x10\x00\x07", Pubrel(7)),
    "PUBCOMP": (b"\x04\x0e\x00\x07", Pubcomp(7)),
    "SUBSCRIBE by name (5.4.15)": (b"\x08\x12\x20\x00\x07a/#", Subscribe("a/#", 7, 1)),
    "SUBSCRIBE again": (b"\x06\x12\xc0\x00\x07a", Subscribe("a", 7, 2, dup=True)),
    "SUBSCRIBE, predefined": (b"\x07\x12\x01\x00\x07\x00\x05", Subscribe(TopicId(PREDEFINED, 5), 7)),
    "SUBSCRIBE, short": (b"\x07\x12\x02\x00\x07t1", Subscribe(TopicId(SHORT, 0x7431), 7)),
    "SUBACK (5.4.16)": (b"\x08\x13\x40\x00\x05\x00\x07\x00", Suback(2, 5, 7, 0)),
    "UNSUBSCRIBE by name (5.4.17)": (b"\x08\x14\x00\x00\x07a/#", Unsubscribe("a/#", 7)),
    "UNSUBSCRIBE, predefined": (b"\x07\x14\x01\x00\x07\x00\x05", Unsubscribe(TopicId(PREDEFINED, 5), 7)),
    "UNSUBSCRIBE, short": (b"\x07\x14\x02\x00\x07t1", Unsubscribe(TopicId(SHORT, 0x7431), 7)),
    "UNSUBACK (5.4.18)": (b"\x04\x15\x00\x07", Unsuback(7)),
    "PINGREQ (5.4.19)": (b"\x02\x16", Pingreq()),
    "PINGREQ of who sleeps": (b"\x05\x16dev", Pingreq("dev")),
    "PINGRESP (5.4.20)": (b"\x02\x17", Pingresp()),
    "DISCONNECT (5.4.21)": (b"\x02\x18", Disconnect()),
    "DISCONNECT, to sleep": (b"\x04\x18\x0e\x10", Disconnect(3600)),
    "WILLTOPICUPD (5.4.22)": (b"\x06\x1a\x40w/t", WillTopic("w/t", 2, is_update=True)),
    "WILLTOPICUPD, empty": (b"\x02\x1a", WillTopic("", is_update=True)),
    "WILLMSGUPD (5.4.23)": (b"\x05\x1cnew", WillMessage(b"new", is_update=True)),
    "WILLTOPICRESP (5.4.24)": (b"\x03\x1b\x00", WillTopicResponse(0)),
    "WILLMSGRESP (5.4.25)": (b"\x03\x1d\x03", WillMessageResponse(3)),
    "three bytes of length": (
        b"\x01\x01\x2f\x0c\x00\x00\x05\x00\x00" + bytes(294),
        Publish(TopicId(NORMAL, 5), bytes(294)),
    ),
    "FRWDENCAP (5.5)": (b"\x05\xfe\x02\xab\xcd\x02\x16", Encapsulated(b"\xab\xcd", b"\x02\x16", 2)),
    "FRWDENCAP of nobody": (b"\x03\xfe\x00\x02\x16", Encapsulated(b"", b"\x02\x16")),
}

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "a length of 0": b"\x00\x16",
    "a length of 1": b"\x01",
    "a length that is too small": b"\x02\x18\x0e\x10",
    "a length that is too large": b"\x05\x18\x0e\x10",
    "three bytes of length that are too few": b"\x01\x00\x05\x0c",
    "three bytes of length that are too many": b"\x01\xff\xff\x0c\x00\x00\x05\x00\x00",
    "reserved type 0x03": b"\x02\x03",
    "reserved type 0x11": b"\x04\x11\x00\x07",
    "reserved type 0x19": b"\x02\x19",
    "reserved type 0x1E": b"\x02\x1e",
    "reserved type 0xFD": b"\x02\xfd",
    "reserved type 0xFF": b"\x02\xff",
    "CONNECT that is no UTF-8": b"\x08\x04\x04\x01\x00\x3c\xc3\x28",
    "CONNECT with a null character": b"\x08\x04\x04\x01\x00\x3cd\x00",
    "CONNACK with more": b"\x04\x05\x00\x00",
    "WILLTOPIC at QoS -1": b"\x04\x07\x60w",
    "REGISTER without a topic": b"\x06\x0a\x00\x00\x00\x01",
    "REGISTER with a surrogate": b"\x09\x0a\x00\x00\x00\x01\xed\xa0\x80",
    "PUBLISH with the reserved type of id": b"\x07\x0c\x03\x00\x05\x00\x00",
    "SUBSCRIBE at QoS -1": b"\x06\x12\x60\x00\x07a",
    "SUBSCRIBE with the reserved type of id": b"\x07\x12\x03\x00\x07\x00\x05",
    "SUBSCRIBE without a topic": b"\x05\x12\x00\x00\x07",
    "SUBSCRIBE, predefined, with more": b"\x08\x12\x01\x00\x07\x00\x05\x00",
    "UNSUBSCRIBE, short, of one byte": b"\x06\x14\x02\x00\x07t",
    "PINGREQ that is no UTF-8": b"\x03\x16\xff",
    "DISCONNECT with half a duration": b"\x03\x18\x0e",
    "FRWDENCAP without a control byte": b"\x02\xfe",
    "FRWDENCAP of a length of 0": b"\x00\xfe\x00",
    "FRWDENCAP shorter than it says": b"\x09\xfe\x00\xab",
}


@pytest.mark.parametrize("name", MESSAGES)
def test_message(name: str) -> None:
    datagram, message = MESSAGES[name]
    assert decode(datagram) == message
    assert encode(message) == datagram


def test_every_type_is_in_the_table() -> None:
    in_table = {datagram[3] if datagram[0] == 1 else datagram[1] for datagram, _ in MESSAGES.values()}
    assert in_table == set(MessageType)


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("FRWDENCAP")])
def test_a_message_that_is_cut_short(name: str) -> None:
    datagram, _ = MESSAGES[name]
    for size in range(len(datagram)):
        with pytest.raises(PacketError):
            decode(datagram[:size])


@pytest.mark.parametrize("name", [name for name in MESSAGES if not name.startswith("FRWDENCAP")])
def test_a_message_with_something_behind_it(name: str) -> None:
    with pytest.raises(PacketError):
        decode(MESSAGES[name][0] + b"\x00")


def test_an_encapsulated_message_is_not_looked_at_here() -> None:
    assert decode(b"\x05\xfe\x02\xab\xcd") == Encapsulated(b"\xab\xcd", b"", 2)
    for size in range(5):
        with pytest.raises(PacketError):
            decode(b"\x05\xfe\x02\xab\xcd"[:size])


@pytest.mark.parametrize("name", BROKEN)
def test_broken(name: str) -> None:
    with pytest.raises(PacketError):
        decode(BROKEN[name])


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (b"\x01\x00\x04\x16", Pingreq()),
        (b"\x01\x00\x06\x18\x0e\x10", Disconnect(3600)),
        (b"\x01\x00\x07\xfe\x00\xab\xcd\x02\x16", Encapsulated(b"\xab\xcd", b"\x02\x16")),
    ],
)
def test_three_bytes_of_length_where_one_would_do(datagram: bytes, message: Message) -> None:
    assert decode(datagram) == message


def test_a_will_topic_with_flags_and_no_topic_is_none() -> None:
    assert decode(b"\x03\x07\x10") == WillTopic("")


@pytest.mark.parametrize(("payload", "header"), [(248, b"\xff"), (249, b"\x01\x01\x02")])
def test_the_length_has_as_many_bytes_as_it_needs(payload: int, header: bytes) -> None:
    datagram = encode(Publish(TopicId(NORMAL, 5), bytes(payload)))
    assert datagram.startswith(header + b"\x0c")
    assert decode(datagram) == Publish(TopicId(NORMAL, 5), bytes(payload))


def test_the_largest_message() -> None:
    datagram = encode(WillMessage(bytes(65_531)))
    assert datagram.startswith(b"\x01\xff\xff\x09")
    assert decode(datagram) == WillMessage(bytes(65_531))
    with pytest.raises(ValueError, match="at most 65535 bytes"):
        encode(WillMessage(bytes(65_532)))


@pytest.mark.parametrize(
    "message",
    [Publish(TopicId(NORMAL, 65_536), b""), Pubrel(-1), Publish(TopicId(NORMAL, 1), b"", 3), Suback(-2, 0, 1, 0)],
)
def test_what_cannot_be_written(message: Message) -> None:
    with pytest.raises(ValueError, match="is"):
        encode(message)


@pytest.mark.parametrize(
    ("topic", "number"), [("t1", 0x7431), ("é", 0xC3A9), ("a", None), ("abc", None), ("éa", None), ("", None)]
)
def test_short_names_have_two_bytes(topic: str, number: int | None) -> None:
    topic_id = short_topic_id(topic)
    assert (None if topic_id is None else topic_id.number) == number
    if topic_id is not None:
        assert topic_id.short_name == topic


@pytest.mark.parametrize("number", [0x0000, 0x7400, 0xFFFF, 0x80C3])
def test_two_bytes_that_are_no_name(number: int) -> None:
    assert TopicId(SHORT, number).short_name is None


@settings(derandomize=True)
@given(st.binary(max_size=300))
def test_any_datagram_is_a_message_or_an_error(datagram: bytes) -> None:
    try:
        message = decode(datagram)
    except PacketError:
        return
    assert decode(encode(message)) == message


@settings(derandomize=True)
@given(st.sampled_from(sorted(set(MessageType) - {MessageType.FRWDENCAP})), st.binary(max_size=300))
def test_any_body_is_a_message_or_an_error(kind: MessageType, body: bytes) -> None:
    length = len(body) + 2
    header = bytes((length,)) if length <= 255 else b"\x01" + (length + 2).to_bytes(2, "big")
    try:
        message = decode(header + bytes((kind,)) + body)
    except PacketError:
        return
    assert decode(encode(message)) == message
