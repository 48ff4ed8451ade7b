"""MQTT-SN's messages (section 5 of the specification), one type for each; ``packets`` reads and writes them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from noctule._speedups.utf8 import utf8_fault

#: What ProtocolId is in CONNECT (5.3.8).
PROTOCOL_ID: Final = 0x01

#: A PUBLISH of this QoS needs no connection (6.8); the two bits of QoS are 0b11 then.
QOS_MINUS_ONE: Final = -1


class MessageType(IntEnum):
    """MsgType (5.2.2); other numbers are reserved."""

    ADVERTISE = 0x00
    SEARCHGW = 0x01
    GWINFO = 0x02
    CONNECT = 0x04
    CONNACK = 0x05
    WILLTOPICREQ = 0x06
    WILLTOPIC = 0x07
    WILLMSGREQ = 0x08
    WILLMSG = 0x09
    REGISTER = 0x0A
    REGACK = 0x0B
    PUBLISH = 0x0C
    PUBACK = 0x0D
    PUBCOMP = 0x0E
    PUBREC = 0x0F
    PUBREL = 0x10
    SUBSCRIBE = 0x12
    SUBACK = 0x13
    UNSUBSCRIBE = 0x14
    UNSUBACK = 0x15
    PINGREQ = 0x16
    PINGRESP = 0x17
    DISCONNECT = 0x18
    WILLTOPICUPD = 0x1A
    WILLTOPICRESP = 0x1B
    WILLMSGUPD = 0x1C
    WILLMSGRESP = 0x1D
    FRWDENCAP = 0xFE


class ReturnCode(IntEnum):
    """ReturnCode (5.3.10); other numbers are reserved."""

    ACCEPTED = 0x00
    CONGESTION = 0x01
    INVALID_TOPIC_ID = 0x02
    NOT_SUPPORTED = 0x03


class TopicIdType(IntEnum):
    """What stands where a topic is named (5.3.4); 0b11 is reserved."""

    #: A topic id that REGISTER or SUBACK has given; in SUBSCRIBE and UNSUBSCRIBE a topic name or filter.
    NORMAL = 0
    PREDEFINED = 1

    #: The name itself, of two bytes.
    SHORT = 2


@dataclass(frozen=True, slots=True)
class TopicId:
    """Two bytes that name a topic, and how. Of a short name the number is its two bytes."""

    kind: TopicIdType
    number: int

    @property
    def short_name(self) -> str | None:
        """The name in the two bytes; None where they are no UTF-8 that MQTT allows."""
        name = self.number.to_bytes(2, "big")
        return name.decode() if utf8_fault(name) is None else None


@dataclass(frozen=True, slots=True)
class Advertise:
    """ADVERTISE: a gateway tells that it is there."""

    gateway_id: int
    duration_s: int


@dataclass(frozen=True, slots=True)
class SearchGateway:
    """SEARCHGW: a client looks for a gateway."""

    radius: int


@dataclass(frozen=True, slots=True)
class GatewayInfo:
    """GWINFO: the answer to SEARCHGW; ``address`` where another client gives it."""

    gateway_id: int
    address: bytes = b""


@dataclass(frozen=True, slots=True)
class Connect:
    """CONNECT."""

    client_id: str
    duration_s: int
    clean_session: bool = True

    #: Whether the gateway is to ask for a Will.
    will: bool = False

    protocol_id: int = PROTOCOL_ID


@dataclass(frozen=True, slots=True)
class Connack:
    """CONNACK."""

    return_code: int


@dataclass(frozen=True, slots=True)
class WillTopicRequest:
    """WILLTOPICREQ."""


@dataclass(frozen=True, slots=True)
class WillTopic:
    """WILLTOPIC, and WILLTOPICUPD with ``is_update``; an empty topic: there is no Will (any more)."""

    topic: str
    qos: int = 0
    retain: bool = False
    is_update: bool = False


@dataclass(frozen=True, slots=True)
class WillMessageRequest:
    """WILLMSGREQ."""


@dataclass(frozen=True, slots=True)
class WillMessage:
    """WILLMSG, and WILLMSGUPD with ``is_update``."""

    payload: bytes
    is_update: bool = False


@dataclass(frozen=True, slots=True)
class WillTopicResponse:
    """WILLTOPICRESP."""

    return_code: int


@dataclass(frozen=True, slots=True)
class WillMessageResponse:
    """WILLMSGRESP."""

    return_code: int


@dataclass(frozen=True, slots=True)
class Register:
    """REGISTER: a topic id for a topic name; from a client the id is 0."""

    topic_id: int
    message_id: int
    topic: str


@dataclass(frozen=True, slots=True)
class Regack:
    """REGACK."""

    topic_id: int
    message_id: int
    return_code: int


@dataclass(frozen=True, slots=True)
class Publish:
    """PUBLISH; ``message_id`` is 0 at QoS 0 and -1."""

    topic_id: TopicId
    payload: bytes
    qos: int = 0
    message_id: int = 0
    retain: bool = False
    dup: bool = False


@dataclass(frozen=True, slots=True)
class Puback:
    """PUBACK; with a code other than ACCEPTED an answer to a PUBLISH of any QoS but -1."""

    topic_id: int
    message_id: int
    return_code: int


@dataclass(frozen=True, slots=True)
class Pubrec:
    """PUBREC."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Pubrel:
    """PUBREL."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Pubcomp:
    """PUBCOMP."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Subscribe:
    """SUBSCRIBE; by name (a topic filter), or by an id, predefined or short."""

    topic: str | TopicId
    message_id: int
    qos: int = 0
    dup: bool = False


@dataclass(frozen=True, slots=True)
class Suback:
    """SUBACK; ``topic_id`` is 0 where the filter has wildcards or the subscription was not by name."""

    qos: int
    topic_id: int
    message_id: int
    return_code: int


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """UNSUBSCRIBE; as SUBSCRIBE names the topic."""

    topic: str | TopicId
    message_id: int


@dataclass(frozen=True, slots=True)
class Unsuback:
    """UNSUBACK."""

    message_id: int


@dataclass(frozen=True, slots=True)
class Pingreq:
    """PINGREQ; with a client identifier from a sleeping client that is awake to get its messages."""

    client_id: str | None = None


@dataclass(frozen=True, slots=True)
class Pingresp:
    """PINGRESP."""


@dataclass(frozen=True, slots=True)
class Disconnect:
    """DISCONNECT; with a duration from a client that goes to sleep."""

    duration_s: int | None = None


@dataclass(frozen=True, slots=True)
class Encapsulated:
    """FRWDENCAP: a message on its way through a forwarder, and the node at the other side of it (5.5)."""

    node_id: bytes
    message: bytes
    radius: int = 0


Message = (
    Advertise
    | SearchGateway
    | GatewayInfo
    | Connect
    | Connack
    | WillTopicRequest
    | WillTopic
    | WillMessageRequest
    | WillMessage
    | WillTopicResponse
    | WillMessageResponse
    | Register
    | Regack
    | Publish
    | Puback
    | Pubrec
    | Pubrel
    | Pubcomp
    | Subscribe
    | Suback
    | Unsubscribe
    | Unsuback
    | Pingreq
    | Pingresp
    | Disconnect
    | Encapsulated
)


def short_topic_id(topic: str) -> TopicId | None:
    """The topic as a short name; None where it does not have two bytes."""
    name = topic.encode()
    return TopicId(TopicIdType.SHORT, int.from_bytes(name, "big")) if len(name) == 2 else None
