"""SUBSCRIBE: a client asks for subscriptions."""

from dataclasses import dataclass
from typing import Final

from noctule._speedups.buffers import PacketReader
from noctule.protocol.constants import PacketType, PropertyId
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import SHARE_PREFIX
from noctule.protocol.properties import decode_properties, encode_properties
from noctule.protocol.reason_codes import ReasonCode
from noctule.protocol.versions import CAPABILITIES
from noctule.protocol.wire import check_first_byte, encode_packet, encode_packet_id, encode_string, read_packet_id

_FIRST_BYTE: Final = PacketType.SUBSCRIBE << 4 | 0x02

# The Subscription Options (3.8.3.1).
_QOS: Final = 0x03
_NO_LOCAL: Final = 0x04
_RETAIN_AS_PUBLISHED: Final = 0x08
_RETAIN_HANDLING_SHIFT: Final = 4
_RESERVED: Final = 0xC0


@dataclass(frozen=True, slots=True)
class SubscriptionRequest:
    """One Topic Filter of a SUBSCRIBE with its options; below version 5 there is the QoS alone."""

    #: As it was sent: of a shared subscription ``$share/ShareName/`` is part of it. Not checked for its form.
    filter: str

    #: The highest QoS that the client wants its messages at.
    qos: int = 0

    #: Whether the client's own messages are left out.
    no_local: bool = False

    #: Whether RETAIN is forwarded as the publisher set it.
    retain_as_published: bool = False

    #: 0: retained messages are sent now, 1: only if the subscription is new, 2: not at all.
    retain_handling: int = 0


@dataclass(frozen=True, slots=True)
class Subscribe:
    """A SUBSCRIBE; there is at least one entry."""

    packet_id: int
    entries: tuple[SubscriptionRequest, ...]

    #: 1 to 268,435,455; None: the client wants none.
    subscription_identifier: int | None = None

    user_properties: tuple[tuple[str, str], ...] = ()


def decode_subscribe(body: bytes, version: int, first: int = _FIRST_BYTE) -> Subscribe:
    """Read a SUBSCRIBE; its filters are not checked for their form (``filters.split_filter`` does that, each alone).

    Raises PacketError, the client's fault: 0x81 if the packet is malformed, 0x82 for a packet identifier of 0, no
    entry at all, a QoS or Retain Handling of 3, No Local on a shared subscription.
    """
    check_first_byte(first, _FIRST_BYTE, "MQTT-3.8.1-1")  # [MQTT-3.8.1-1]
    capabilities = CAPABILITIES[version]
    reader = PacketReader(body)
    packet_id = read_packet_id(reader)
    values = decode_properties(reader, PacketType.SUBSCRIBE) if capabilities.has_properties else {}
    if reader.remaining == 0:  # [MQTT-3.8.3-2]
        raise PacketError(ReasonCode.PROTOCOL_ERROR, "SUBSCRIBE without a topic filter", "MQTT-3.8.3-2")
    entries: list[SubscriptionRequest] = []
    while reader.remaining:
        topic_filter = reader.utf8("a topic filter")  # [MQTT-3.8.3-1]
        options = reader.u8("the subscription options")
        qos = options & _QOS
        if options != qos and not capabilities.has_subscription_options:  # [MQTT-3-8.3-4] of 3.1.1
            raise PacketError(ReasonCode.MALFORMED_PACKET, "reserved bits beside the requested QoS", "MQTT-3-8.3-4")
        if options & _RESERVED:  # [MQTT-3.8.3-5]
            raise PacketError(ReasonCode.MALFORMED_PACKET, "reserved subscription options are set", "MQTT-3.8.3-5")
        retain_handling = options >> _RETAIN_HANDLING_SHIFT
        if qos == 3:  # 3.8.3.1
            raise PacketError(ReasonCode.PROTOCOL_ERROR, "a subscription at QoS 3")
        if retain_handling == 3:  # 3.8.3.1
            raise PacketError(ReasonCode.PROTOCOL_ERROR, "Retain Handling is 3")
        no_local = options & _NO_LOCAL != 0
        if no_local and topic_filter.startswith(SHARE_PREFIX):  # [MQTT-3.8.3-4]
            raise PacketError(ReasonCode.PROTOCOL_ERROR, "No Local on a shared subscription", "MQTT-3.8.3-4")
        retain_as_published = options & _RETAIN_AS_PUBLISHED != 0
        entries.append(SubscriptionRequest(topic_filter, qos, no_local, retain_as_published, retain_handling))
    return Subscribe(
        packet_id,
        tuple(entries),
        values.get(PropertyId.SUBSCRIPTION_IDENTIFIER),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
    )


def encode_subscribe(packet: Subscribe, version: int) -> bytes:
    """The whole packet; below version 5 each entry has its QoS alone.

    ValueError, our own fault, for no entries or a value out of range.
    """
    capabilities = CAPABILITIES[version]
    if not packet.entries:
        raise ValueError("SUBSCRIBE needs at least one topic filter")
    parts = [encode_packet_id(packet.packet_id)]
    if capabilities.has_properties:
        values = {
            PropertyId.SUBSCRIPTION_IDENTIFIER: packet.subscription_identifier,
            PropertyId.USER_PROPERTY: packet.user_properties,
        }
        parts.append(encode_properties(values, PacketType.SUBSCRIBE))
    for entry in packet.entries:
        if not 0 <= entry.qos <= 2:
            raise ValueError(f"QoS is 0, 1 or 2, not {entry.qos}")
        options = entry.qos
        if capabilities.has_subscription_options:
            if not 0 <= entry.retain_handling <= 2:
                raise ValueError(f"Retain Handling is 0, 1 or 2, not {entry.retain_handling}")
            options |= entry.retain_handling << _RETAIN_HANDLING_SHIFT
            options |= _NO_LOCAL if entry.no_local else 0
            options |= _RETAIN_AS_PUBLISHED if entry.retain_as_published else 0
        parts.append(encode_string(entry.filter))
        parts.append(bytes((options,)))
    return encode_packet(_FIRST_BYTE, b"".join(parts))
