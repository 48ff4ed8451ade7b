"""MQTT-SN's messages (section 5 of the specification): read from a datagram, and written as one; both directions.

Whatever is wrong with a datagram is a ``PacketError``: it is thrown away, since nobody can be told. What cannot be
written is a ``ValueError``, our own fault.
"""

from typing import Final, NoReturn

from noctule._speedups.buffers import PacketReader
from noctule._speedups.utf8 import utf8_fault
from noctule.net.mqtt_sn.messages import (
    QOS_MINUS_ONE,
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
)
from noctule.protocol.errors import PacketError
from noctule.protocol.reason_codes import ReasonCode

#: The largest message that the three-byte form of Length can say (5.2.1).
MESSAGE_MAX_BYTES: Final = 0xFFFF

_LENGTH_IN_TWO_MORE_BYTES: Final = 0x01
_SHORT_FORM_MAX_BYTES: Final = 0xFF

# The Flags byte (5.3.4).
_DUP: Final = 0x80
_QOS_SHIFT: Final = 5
_QOS: Final = 0x03
_RETAIN: Final = 0x10
_WILL: Final = 0x08
_CLEAN_SESSION: Final = 0x04
_TOPIC_ID_TYPE: Final = 0x03


# --- reading ------------------------------------------------------------------------------


def decode(datagram: bytes) -> Message:
    """The one message in a datagram.

    PacketError where its length is not the datagram's, its type is reserved, or its fields do not fit.
    """
    reader = PacketReader(datagram)
    length = reader.u8("the length")
    if length == _LENGTH_IN_TWO_MORE_BYTES:
        length = reader.u16("the length")
    number = reader.u8("the message type")
    if number == MessageType.FRWDENCAP:  # its length ends before the message within (5.5)
        return _encapsulated(reader, length - (len(datagram) - reader.remaining))
    if length != len(datagram):
        _malformed(f"the length is {length} in a datagram of {len(datagram)} bytes")
    try:
        kind = MessageType(number)
    except ValueError:
        _malformed(f"the message type 0x{number:02X} is reserved")
    message = _body(kind, reader)
    reader.expect_end(kind.name)
    return message


def _malformed(text: str) -> NoReturn:
    raise PacketError(ReasonCode.MALFORMED_PACKET, text)


def _body(kind: MessageType, reader: PacketReader) -> Message:
    """What follows the header."""
    match kind:
        case MessageType.PUBLISH:
            return _publish(reader)
        case MessageType.CONNECT:
            return _connect(reader)
        case MessageType.SUBSCRIBE | MessageType.UNSUBSCRIBE:
            return _subscribe(kind, reader)
        case MessageType.PUBACK:
            return Puback(reader.u16("the topic id"), reader.u16("the message id"), reader.u8("the return code"))
        case MessageType.PUBREC:
            return Pubrec(reader.u16("the message id"))
        case MessageType.PUBREL:
            return Pubrel(reader.u16("the message id"))
        case MessageType.PUBCOMP:
            return Pubcomp(reader.u16("the message id"))
        case MessageType.REGISTER:
            return Register(reader.u16("the topic id"), reader.u16("the message id"), _text(reader, "the topic name"))
        case MessageType.REGACK:
            return Regack(reader.u16("the topic id"), reader.u16("the message id"), reader.u8("the return code"))
        case MessageType.PINGREQ:
            return Pingreq(_text(reader, "the client identifier") if reader.remaining else None)
        case MessageType.DISCONNECT:
            return Disconnect(reader.u16("the duration") if reader.remaining else None)
        case MessageType.WILLTOPIC | MessageType.WILLTOPICUPD:
            return _will_topic(kind, reader)
        case MessageType.WILLMSG | MessageType.WILLMSGUPD:
            return WillMessage(reader.rest(), kind is MessageType.WILLMSGUPD)
        case MessageType.SEARCHGW:
            return SearchGateway(reader.u8("the radius"))
        case _:
            return _from_gateway(kind, reader)


def _from_gateway(kind: MessageType, reader: PacketReader) -> Message:
    """The messages that gateways alone send."""
    match kind:
        case MessageType.ADVERTISE:
            return Advertise(reader.u8("the gateway id"), reader.u16("the duration"))
        case MessageType.GWINFO:
            return GatewayInfo(reader.u8("the gateway id"), reader.rest())
        case MessageType.CONNACK:
            return Connack(reader.u8("the return code"))
        case MessageType.WILLTOPICREQ:
            return WillTopicRequest()
        case MessageType.WILLMSGREQ:
            return WillMessageRequest()
        case MessageType.WILLTOPICRESP:
            return WillTopicResponse(reader.u8("the return code"))
        case MessageType.WILLMSGRESP:
            return WillMessageResponse(reader.u8("the return code"))
        case MessageType.SUBACK:
            qos = _qos_of(reader.u8("the flags"))
            topic_id, message_id = reader.u16("the topic id"), reader.u16("the message id")
            return Suback(qos, topic_id, message_id, reader.u8("the return code"))
        case MessageType.UNSUBACK:
            return Unsuback(reader.u16("the message id"))
        case _:
            return Pingresp()


def _connect(reader: PacketReader) -> Connect:
    flags = reader.u8("the flags")
    protocol_id = reader.u8("the protocol id")
    duration_s = reader.u16("the duration")
    return Connect(
        _text(reader, "the client identifier") if reader.remaining else "",
        duration_s,
        flags & _CLEAN_SESSION != 0,
        flags & _WILL != 0,
        protocol_id,
    )


def _will_topic(kind: MessageType, reader: PacketReader) -> WillTopic:
    is_update = kind is MessageType.WILLTOPICUPD
    if not reader.remaining:
        return WillTopic("", is_update=is_update)
    flags = reader.u8("the flags")
    qos = _qos_of(flags)
    if qos == QOS_MINUS_ONE:
        _malformed("a Will has the QoS -1")
    if not reader.remaining:
        return WillTopic("", is_update=is_update)  # of no topic the flags say nothing
    return WillTopic(_text(reader, "the Will topic"), qos, flags & _RETAIN != 0, is_update)


def _publish(reader: PacketReader) -> Publish:
    flags = reader.u8("the flags")
    topic_id = TopicId(_topic_id_type(flags), reader.u16("the topic id"))
    message_id = reader.u16("the message id")
    return Publish(topic_id, reader.rest(), _qos_of(flags), message_id, flags & _RETAIN != 0, flags & _DUP != 0)


def _subscribe(kind: MessageType, reader: PacketReader) -> Subscribe | Unsubscribe:
    flags = reader.u8("the flags")
    message_id = reader.u16("the message id")
    id_type = _topic_id_type(flags)
    topic: str | TopicId
    if id_type is TopicIdType.NORMAL:
        topic = _text(reader, "the topic name")
    else:
        topic = TopicId(id_type, reader.u16("the topic id"))
    if kind is MessageType.UNSUBSCRIBE:
        return Unsubscribe(topic, message_id)
    qos = _qos_of(flags)
    if qos == QOS_MINUS_ONE:
        _malformed("a subscription at QoS -1")
    return Subscribe(topic, message_id, qos, flags & _DUP != 0)


def _encapsulated(reader: PacketReader, remaining: int) -> Encapsulated:
    """``remaining``: how many bytes of the header are still to come."""
    if remaining < 1:
        _malformed("FRWDENCAP ends before its control byte")
    radius = reader.u8("the control byte") & 0x03
    return Encapsulated(reader.take(remaining - 1, "the wireless node id"), reader.rest(), radius)


def _topic_id_type(flags: int) -> TopicIdType:
    number = flags & _TOPIC_ID_TYPE
    if number == _TOPIC_ID_TYPE:
        _malformed("the topic id type 0b11 is reserved")
    return TopicIdType(number)


def _qos_of(flags: int) -> int:
    bits = flags >> _QOS_SHIFT & _QOS
    return QOS_MINUS_ONE if bits == _QOS else bits


def _text(reader: PacketReader, field: str) -> str:
    """All that is left, as a text that MQTT allows and that is not empty."""
    data = reader.rest()
    fault = "it is empty" if not data else utf8_fault(data)
    if fault is not None:
        _malformed(f"{field}: {fault}")
    return data.decode()


# --- writing ------------------------------------------------------------------------------


def encode(message: Message) -> bytes:
    """The message as a datagram. ValueError where it is too large or a number is out of range."""
    if isinstance(message, Encapsulated):
        header = bytes((message.radius,)) + message.node_id
        return _framed(MessageType.FRWDENCAP, header) + message.message
    kind, body = _encoded_body(message)
    return _framed(kind, body)


def _framed(kind: MessageType, body: bytes) -> bytes:
    if 2 + len(body) <= _SHORT_FORM_MAX_BYTES:
        return bytes((2 + len(body), kind)) + body
    length = 4 + len(body)
    if length > MESSAGE_MAX_BYTES:
        raise ValueError(f"a message has at most {MESSAGE_MAX_BYTES} bytes, not {length}")
    return bytes((_LENGTH_IN_TWO_MORE_BYTES,)) + _u16(length) + bytes((kind,)) + body


def _u16(value: int) -> bytes:
    if not 0 <= value <= 0xFFFF:
        raise ValueError(f"a two-byte integer is 0 to 65535, not {value}")
    return value.to_bytes(2, "big")


def _encoded_body(message: Message) -> tuple[MessageType, bytes]:
    match message:
        case Publish(topic_id, payload, qos, message_id, retain, dup):
            flags = _flags(qos, retain=retain, dup=dup) | topic_id.kind
            return MessageType.PUBLISH, bytes((flags,)) + _u16(topic_id.number) + _u16(message_id) + payload
        case Puback(number, message_id, code):
            return MessageType.PUBACK, _u16(number) + _u16(message_id) + bytes((code,))
        case Pubrec(message_id):
            return MessageType.PUBREC, _u16(message_id)
        case Pubrel(message_id):
            return MessageType.PUBREL, _u16(message_id)
        case Pubcomp(message_id):
            return MessageType.PUBCOMP, _u16(message_id)
        case Register(number, message_id, topic):
            return MessageType.REGISTER, _u16(number) + _u16(message_id) + topic.encode()
        case Regack(number, message_id, code):
            return MessageType.REGACK, _u16(number) + _u16(message_id) + bytes((code,))
        case Subscribe(topic_or_id, message_id, qos, dup):
            flags, named = _named(topic_or_id)
            return MessageType.SUBSCRIBE, bytes((flags | _flags(qos, dup=dup),)) + _u16(message_id) + named
        case Unsubscribe(topic_or_id, message_id):
            flags, named = _named(topic_or_id)
            return MessageType.UNSUBSCRIBE, bytes((flags,)) + _u16(message_id) + named
        case Suback(qos, number, message_id, code):
            return MessageType.SUBACK, bytes((_flags(qos),)) + _u16(number) + _u16(message_id) + bytes((code,))
        case Unsuback(message_id):
            return MessageType.UNSUBACK, _u16(message_id)
        case Pingreq(client_id):
            return MessageType.PINGREQ, (client_id or "").encode()
        case Pingresp():
            return MessageType.PINGRESP, b""
        case Disconnect(duration_s):
            return MessageType.DISCONNECT, b"" if duration_s is None else _u16(duration_s)
        case _:
            return _encoded_set_up(message)


def _encoded_set_up(message: Message) -> tuple[MessageType, bytes]:
    """The messages by which clients and gateways find each other and begin."""
    match message:
        case Connect(client_id, duration_s, clean_session, will, protocol_id):
            flags = (_CLEAN_SESSION if clean_session else 0) | (_WILL if will else 0)
            return MessageType.CONNECT, bytes((flags, protocol_id)) + _u16(duration_s) + client_id.encode()
        case Connack(code):
            return MessageType.CONNACK, bytes((code,))
        case WillTopicRequest():
            return MessageType.WILLTOPICREQ, b""
        case WillTopic(topic, qos, retain, is_update):
            kind = MessageType.WILLTOPICUPD if is_update else MessageType.WILLTOPIC
            return kind, bytes((_flags(qos, retain=retain),)) + topic.encode() if topic else b""
        case WillMessageRequest():
            return MessageType.WILLMSGREQ, b""
        case WillMessage(payload, is_update):
            return MessageType.WILLMSGUPD if is_update else MessageType.WILLMSG, payload
        case WillTopicResponse(code):
            return MessageType.WILLTOPICRESP, bytes((code,))
        case WillMessageResponse(code):
            return MessageType.WILLMSGRESP, bytes((code,))
        case Advertise(gateway_id, duration_s):
            return MessageType.ADVERTISE, bytes((gateway_id,)) + _u16(duration_s)
        case SearchGateway(radius):
            return MessageType.SEARCHGW, bytes((radius,))
        case GatewayInfo(gateway_id, address):
            return MessageType.GWINFO, bytes((gateway_id,)) + address
        case _:
            raise TypeError(f"{type(message).__name__} is no message that is written here")


def _flags(qos: int, *, retain: bool = False, dup: bool = False) -> int:
    if not QOS_MINUS_ONE <= qos <= 2:
        raise ValueError(f"QoS is -1, 0, 1 or 2, not {qos}")
    return (qos & _QOS) << _QOS_SHIFT | (_RETAIN if retain else 0) | (_DUP if dup else 0)


def _named(topic: str | TopicId) -> tuple[int, bytes]:
    if isinstance(topic, TopicId):
        return topic.kind, _u16(topic.number)
    return TopicIdType.NORMAL, topic.encode()
