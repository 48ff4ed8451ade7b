"""The settings of one MQTT-SN gateway: where it listens, who its devices are, and what they may make it hold."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Final

from noctule.config import limits
from noctule.config.options import Duration, Option, Secret, Size

#: Stands for the client identifier of a device in ``user_name``.
CLIENT_ID_MARK: Final = "%c"

#: 0x0000 and 0xFFFF are reserved (5.3.11).
TOPIC_ID_MAXIMUM: Final = 0xFFFE

_SHORT_NAME_BYTES: Final = 2


class MqttSnMode(Enum):
    """How devices become clients of the broker."""

    #: Each has a connection and a session of its own.
    TRANSPARENT = "transparent"

    #: All share one connection, and one session that ends with it.
    AGGREGATING = "aggregating"


class AddressChange(Enum):
    """Whether a device that is connected may connect again from another address."""

    #: Not before it is considered lost.
    REFUSED = "refused"

    #: The new connection takes the old one's place, as in MQTT.
    ALLOWED = "allowed"


@dataclass(frozen=True, slots=True)
class MqttSnSettings:
    """One MQTT-SN gateway."""

    address: Annotated[
        str,
        Option('Address or host name to listen on; "*" is every IPv4 address of this machine, "::" any of IPv6.'),
    ] = "127.0.0.1"
    port: Annotated[int, Option("UDP port; 0 lets the system choose one that is free.", minimum=0, maximum=65_535)] = (
        1883
    )
    gateway_id: Annotated[
        int, Option("What GWINFO and ADVERTISE call this gateway (GwId).", minimum=1, maximum=255)
    ] = 1
    mode: Annotated[
        MqttSnMode,
        Option(
            "transparent: each device has a connection and a session of its own. aggregating: all devices share one "
            "connection, one identity and its rights."
        ),
    ] = MqttSnMode.TRANSPARENT
    client_id: Annotated[
        str | None,
        Option(
            "Client identifier of the gateway's own connections: the shared one of aggregating mode, and, with "
            '"-unconnected" behind it, the one of messages at QoS -1; not set: mqtt-sn- and the gateway_id.',
            example='"plant-gateway"',
        ),
    ] = None
    user_name: Annotated[
        str | None,
        Option(
            'The user that a device is; "%c" stands for its client identifier. The broker takes it for proven. Not '
            "set: devices are anonymous, and let in where allow_anonymous says so.",
            example='"sensor-%c"',
        ),
    ] = None
    password: Annotated[
        Secret | None,
        Option("The password that the gateway sends with user_name, where a plugin asks for one.", example='"..."'),
    ] = None
    allow_anonymous: Annotated[
        bool | None,
        Option("As the option of this name for all listeners, for this gateway.", example="false"),
    ] = None
    client_ids: Annotated[
        tuple[str, ...] | None,
        Option("Client identifiers of the devices that may connect; not set: any.", example='["pump-7", "pump-8"]'),
    ] = None
    address_change: Annotated[
        AddressChange,
        Option(
            "Whether a client identifier that is connected or asleep may be connected again from another IP address: "
            "the address is all that tells a device from an impostor."
        ),
    ] = AddressChange.REFUSED
    verify_addresses: Annotated[
        bool,
        Option(
            "Whether a device has to prove that it receives what it is sent, by answering a REGISTER, before "
            "messages flow to it; false only where nobody can forge source addresses."
        ),
    ] = True
    predefined_topics: Annotated[
        Mapping[str, str],
        Option(
            "Topic names by their predefined topic id, 1 to 65534.",
            example='{ "1" = "sensors/temperature", "2" = "sensors/humidity" }',
        ),
    ] = field(default_factory=dict)
    qos_minus_one_topics: Annotated[
        tuple[str, ...],
        Option(
            "Topic names that anybody may publish to at QoS -1, without a connection: short ones (two bytes), or "
            "such as have a predefined topic id. The broker's access rules count as well.",
            example='["t1"]',
        ),
    ] = ()
    advertise_address: Annotated[
        str | None,
        Option(
            "Broadcast or multicast address that ADVERTISE is sent to; a multicast group is joined too, for SEARCHGW. "
            "Not set: the gateway does not advertise itself.",
            example='"255.255.255.255"',
        ),
    ] = None
    advertise_port: Annotated[
        int | None,
        Option("UDP port ADVERTISE is sent to; not set: the gateway's.", minimum=1, maximum=65_535, example="1883"),
    ] = None
    advertise_interval_s: Annotated[
        Duration,
        Option("Time between two ADVERTISE messages.", key="advertise_interval", minimum=1, maximum=65_535),
    ] = limits.MQTT_SN_ADVERTISE_INTERVAL_S
    retry_interval_s: Annotated[
        Duration,
        Option("How long an answer of a device is waited for (T_retry).", key="retry_interval", minimum=0.1),
    ] = limits.MQTT_SN_RETRY_INTERVAL_S
    retry_count: Annotated[
        int,
        Option(
            "How often a message is sent again (N_retry); after that it waits until the device is heard of.",
            minimum=0,
            maximum=100,
        ),
    ] = limits.MQTT_SN_RETRY_COUNT
    session_expiry_s: Annotated[
        Duration,
        Option(
            "How long the session of a device that connects without CleanSession outlives its connection.",
            key="session_expiry",
            minimum=0,
            maximum=0xFFFFFFFE,
        ),
    ] = limits.MQTT_SN_SESSION_EXPIRY_S
    devices_max: Annotated[
        int, Option("Devices, connected or asleep.", key="max_devices", minimum=1, unsafe_above=100_000)
    ] = limits.MQTT_SN_DEVICES_MAX
    devices_per_address_max: Annotated[
        int, Option("Devices of one IP address, forwarded ones too.", key="max_devices_per_address", minimum=1)
    ] = limits.MQTT_SN_DEVICES_PER_ADDRESS_MAX
    message_max_bytes: Annotated[
        Size,
        Option(
            "Largest MQTT-SN message either way.",
            key="max_message_size",
            minimum=64,
            maximum=limits.UDP_PAYLOAD_MAX_BYTES,
        ),
    ] = limits.MQTT_SN_MESSAGE_MAX_BYTES
    buffer_max_messages: Annotated[
        int,
        Option(
            "Messages that wait in the gateway for one device that sleeps: QoS 0, in aggregating mode any. Others wait "
            "in the device's session.",
            key="max_buffered_messages",
            minimum=1,
            unsafe_above=100_000,
        ),
    ] = limits.MQTT_SN_BUFFER_MAX_MESSAGES
    buffer_max_bytes: Annotated[
        Size,
        Option(
            "The same in bytes: topic and payload.",
            key="max_buffered_bytes",
            minimum=1_024,
            unsafe_above=16_777_216,
        ),
    ] = limits.MQTT_SN_BUFFER_MAX_BYTES
    topics_max: Annotated[
        int,
        Option("Topic ids of one device.", key="max_topics", minimum=1, maximum=TOPIC_ID_MAXIMUM),
    ] = limits.MQTT_SN_TOPICS_MAX

    def __post_init__(self) -> None:
        if not self.address:
            raise ValueError('"address" names nothing to listen on')
        if self.user_name == "":
            raise ValueError('"user_name" is empty; leave it out for anonymous devices')
        if self.user_name == CLIENT_ID_MARK and self.client_ids is None:
            raise ValueError(
                '"user_name" is "%c" alone: a device could call itself as any user is called; name the devices in '
                '"client_ids", or put something before or behind it ("sensor-%c")'
            )
        if self.password is not None and self.user_name is None:
            raise ValueError('"password" needs "user_name"')
        for key, topic in self.predefined_topics.items():
            _check_topic(topic, "predefined_topics")
            if not (key.isascii() and key.isdecimal() and 1 <= int(key[:6]) <= TOPIC_ID_MAXIMUM):
                raise ValueError(f'"predefined_topics": a topic id is 1 to {TOPIC_ID_MAXIMUM}, in quotes; got "{key}"')
        if len(self.topics_by_predefined_id) != len(self.predefined_topics):
            raise ValueError('"predefined_topics" has a topic id twice')
        known = set(self.predefined_topics.values())
        for topic in self.qos_minus_one_topics:
            _check_topic(topic, "qos_minus_one_topics")
            if len(topic.encode()) != _SHORT_NAME_BYTES and topic not in known:
                raise ValueError(
                    f'"qos_minus_one_topics": "{topic}" is neither a short name (two bytes) nor in "predefined_topics"'
                )

    @property
    def topics_by_predefined_id(self) -> dict[int, str]:
        """Topic names by their predefined id, as numbers."""
        return {int(key): topic for key, topic in self.predefined_topics.items()}

    @property
    def own_client_id(self) -> str:
        """The client identifier of the gateway's own connections."""
        return self.client_id or f"mqtt-sn-{self.gateway_id}"

    def user_name_of(self, client_id: str) -> str | None:
        """The user that a device of this client identifier is; None: anonymous."""
        return None if self.user_name is None else self.user_name.replace(CLIENT_ID_MARK, client_id)


def _check_topic(topic: str, option: str) -> None:
    if not topic or "+" in topic or "#" in topic or "\0" in topic:
        raise ValueError(f'"{option}": "{topic}" is not a topic name: it is empty or has a wildcard')
