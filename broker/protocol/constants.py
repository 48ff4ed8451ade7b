"""The numbers that MQTT gives to packets and properties, and the sizes that its fields are held to."""

from enum import IntEnum
from typing import Final


class PacketType(IntEnum):
    """MQTT Control Packet types, the upper four bits of a packet's first byte.

    Source: MQTT 5.0 section 2.1.2. Type 0 is forbidden and has no name on purpose.
    """

    #: A client asks for a connection.
    CONNECT = 1

    #: The server accepts or refuses it.
    CONNACK = 2

    #: An application message, either way.
    PUBLISH = 3

    #: QoS 1: the message is taken.
    PUBACK = 4

    #: QoS 2, first answer: the message is received.
    PUBREC = 5

    #: QoS 2: the sender has seen PUBREC and lets go of the message.
    PUBREL = 6

    #: QoS 2, last answer: the packet identifier is free.
    PUBCOMP = 7

    #: A client asks for subscriptions.
    SUBSCRIBE = 8

    #: One reason code for each Topic Filter of a SUBSCRIBE.
    SUBACK = 9

    #: A client gives up subscriptions.
    UNSUBSCRIBE = 10

    #: One reason code for each Topic Filter of an UNSUBSCRIBE (none below version 5).
    UNSUBACK = 11

    #: A client says that it is alive.
    PINGREQ = 12

    #: The server's answer to it.
    PINGRESP = 13

    #: The connection ends; from the server in version 5 alone.
    DISCONNECT = 14

    #: One step of enhanced authentication; forbidden below version 5.
    AUTH = 15


class PropertyId(IntEnum):
    """Property identifiers.

    Source: MQTT 5.0 section 2.2.2.2, table 2-4. Numbers that are not listed are malformed.
    """

    #: 0: bytes that nothing is said about, 1: UTF-8 text.
    PAYLOAD_FORMAT_INDICATOR = 0x01

    #: How many seconds a message is worth delivering.
    MESSAGE_EXPIRY_INTERVAL = 0x02

    #: What the payload is, in words of the application (often a MIME type).
    CONTENT_TYPE = 0x03

    #: The Topic Name that an answer is to go to.
    RESPONSE_TOPIC = 0x08

    #: Tells the asker which request an answer belongs to.
    CORRELATION_DATA = 0x09

    #: A number for a subscription, returned with each message that it matches.
    SUBSCRIPTION_IDENTIFIER = 0x0B

    #: How many seconds the session outlives its connection; 0xFFFFFFFF: for good.
    SESSION_EXPIRY_INTERVAL = 0x11

    #: The Client Identifier that the server chose.
    ASSIGNED_CLIENT_IDENTIFIER = 0x12

    #: The Keep Alive in seconds that the server puts in place of the client's.
    SERVER_KEEP_ALIVE = 0x13

    #: The method of enhanced authentication.
    AUTHENTICATION_METHOD = 0x15

    #: What the method exchanges.
    AUTHENTICATION_DATA = 0x16

    #: Whether the server may send Reason String and User Properties with any packet.
    REQUEST_PROBLEM_INFORMATION = 0x17

    #: How many seconds the Will waits after the connection has ended.
    WILL_DELAY_INTERVAL = 0x18

    #: Whether the client would like Response Information.
    REQUEST_RESPONSE_INFORMATION = 0x19

    #: The base that a client may build its Response Topics on.
    RESPONSE_INFORMATION = 0x1A

    #: Another server to use.
    SERVER_REFERENCE = 0x1C

    #: What went wrong, for people.
    REASON_STRING = 0x1F

    #: How many QoS 1 and 2 messages may be on their way to the sender of this at once.
    RECEIVE_MAXIMUM = 0x21

    #: The highest Topic Alias that the sender of this takes; 0: none.
    TOPIC_ALIAS_MAXIMUM = 0x22

    #: A number in place of a Topic Name.
    TOPIC_ALIAS = 0x23

    #: The highest QoS that the server supports, 0 or 1; 2 where it is absent.
    MAXIMUM_QOS = 0x24

    #: Whether the server keeps retained messages.
    RETAIN_AVAILABLE = 0x25

    #: A name and a value of the application's; the only property that may stand in a packet any number of times.
    USER_PROPERTY = 0x26

    #: The largest packet in bytes that the sender of this takes.
    MAXIMUM_PACKET_SIZE = 0x27

    #: Whether the server takes ``+`` and ``#``.
    WILDCARD_SUBSCRIPTION_AVAILABLE = 0x28

    #: Whether the server takes Subscription Identifiers.
    SUBSCRIPTION_IDENTIFIERS_AVAILABLE = 0x29

    #: Whether the server takes ``$share/...``.
    SHARED_SUBSCRIPTION_AVAILABLE = 0x2A


#: The largest value of a variable byte integer, and so of a Remaining Length (1.5.5).
VARIABLE_BYTE_INTEGER_MAXIMUM: Final = 268_435_455

#: The longest string or binary data in bytes: its length has two bytes (1.5.4, 1.5.6).
FIELD_SIZE_MAXIMUM: Final = 65_535

#: The Session Expiry Interval that means never (3.1.2.11.2).
SESSION_NEVER_EXPIRES: Final = 0xFFFF_FFFF

#: Receive Maximum where the property is absent (3.1.2.11.3).
RECEIVE_MAXIMUM_DEFAULT: Final = 65_535
