"""An application message as a client receives it, and its properties in both directions."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from noctule._speedups.codec import Publish
from noctule.protocol import PacketType, PropertyId, PropertyValues, decode_property_block


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the properties of version 5 have the values of their absence below it (3.3.2.3)."""

    topic: str
    payload: bytes
    qos: int

    #: Of a live message whether the subscription asked to keep it (Retain As Published), else: it was retained.
    retain: bool

    #: Whether the server has sent it before, and has had no acknowledgement.
    dup: bool

    #: Whether the payload is UTF-8 text.
    payload_is_text: bool = False

    #: How many seconds of its life are left; None: it does not expire.
    message_expiry_interval_s: int | None = None

    content_type: str | None = None
    response_topic: str | None = None
    correlation_data: bytes | None = None

    #: The numbers of the subscriptions that it matches, where they have any.
    subscription_identifiers: tuple[int, ...] = ()

    user_properties: tuple[tuple[str, str], ...] = ()

    #: The packet identifier that it came with; 0 at QoS 0. It says nothing about the message itself.
    packet_id: int = field(default=0, compare=False)

    #: The properties as they stood in the packet, in their order; what the fields above say, and the Topic Alias.
    properties: Mapping[PropertyId, Any] = field(default_factory=dict, compare=False, repr=False)


def message_of(publish: Publish, topic: str, values: PropertyValues) -> Message:
    """The message that a PUBLISH carries; ``topic`` is its Topic Name, looked up if an alias stood for it."""
    if not values:
        return Message(topic, publish.payload, publish.qos, publish.retain, publish.dup, packet_id=publish.packet_id)
    return Message(
        topic,
        publish.payload,
        publish.qos,
        publish.retain,
        publish.dup,
        values.get(PropertyId.PAYLOAD_FORMAT_INDICATOR, 0) == 1,
        values.get(PropertyId.MESSAGE_EXPIRY_INTERVAL),
        values.get(PropertyId.CONTENT_TYPE),
        values.get(PropertyId.RESPONSE_TOPIC),
        values.get(PropertyId.CORRELATION_DATA),
        tuple(values.get(PropertyId.SUBSCRIPTION_IDENTIFIER, ())),
        tuple(values.get(PropertyId.USER_PROPERTY, ())),
        publish.packet_id,
        values,
    )


def properties_of(publish: Publish) -> PropertyValues:
    """The properties of a PUBLISH; none below version 5."""
    return decode_property_block(publish.properties, PacketType.PUBLISH) if publish.properties else {}
