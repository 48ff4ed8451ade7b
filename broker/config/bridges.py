"""The settings of one bridge: which broker it leads to, which topics cross it, and what happens when it breaks."""

import platform
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Final

from noctule.config import limits
from noctule.config.bridge_transports import BridgeTcpSettings, BridgeTlsSettings, check_address
from noctule.config.options import Duration, Option, Quantity, Secret, Size

#: A Session Expiry Interval that means: for good.
_NEVER: Final = 0xFFFFFFFF

_FIELD_BYTES_MAX: Final = 65_535


class Direction(Enum):
    """Which way messages go."""

    #: From here to the other broker.
    OUT = "out"

    #: From the other broker to here.
    IN = "in"

    BOTH = "both"


class BridgeVersion(Enum):
    """The version of MQTT that is spoken with the other broker."""

    V3_1 = "3.1"
    V3_1_1 = "3.1.1"
    V5 = "5"


class StartType(Enum):
    """When a bridge connects."""

    #: At the start, and again whenever the connection is lost.
    AUTOMATIC = "automatic"

    #: When enough messages wait; it leaves when none have crossed for a while.
    LAZY = "lazy"

    #: At the start, once.
    ONCE = "once"


class Notifications(Enum):
    """Who is told whether a bridge is connected."""

    BOTH = "both"
    LOCAL = "local"
    NONE = "none"


class RetainHandling(Enum):
    """When the retained messages that a subscription matches are sent across."""

    #: At each connection.
    ALWAYS = "always"

    #: When the subscription is made.
    NEW = "new"

    NEVER = "never"


class ReloadType(Enum):
    """When other settings of a bridge that is connected take effect."""

    #: At once: it connects anew.
    IMMEDIATE = "immediate"

    #: When it connects the next time.
    LAZY = "lazy"


@dataclass(frozen=True, slots=True)
class BridgeTopic:
    """Topics that cross a bridge."""

    pattern: Annotated[
        str,
        Option(
            "A topic filter, to which each side's prefix is added; empty: the two prefixes are two names of one topic.",
            example='"sensors/#"',
        ),
    ]
    direction: Annotated[Direction, Option("Which way messages go: out, to the other broker; in, from it.")] = (
        Direction.OUT
    )
    qos: Annotated[int, Option("The highest QoS at which they cross.", minimum=0, maximum=2)] = 0
    local_prefix: Annotated[str, Option("What the topics begin with here.")] = ""
    remote_prefix: Annotated[str, Option("What they begin with at the other broker.")] = ""

    def __post_init__(self) -> None:
        if not self.pattern and not (self.local_prefix and self.remote_prefix):
            raise ValueError('an empty "pattern" needs both prefixes: they are the two names of one topic')
        for prefix, key in ((self.local_prefix, "local_prefix"), (self.remote_prefix, "remote_prefix")):
            if any(sign in prefix for sign in "+#\0"):
                raise ValueError(f'"{key}" can have no wildcard; got "{prefix}"')
        for topic_filter in (self.local_filter, self.remote_filter):
            _check_filter(topic_filter, self.pattern)

    @property
    def local_filter(self) -> str:
        """The topic filter on this side."""
        return self.local_prefix + self.pattern

    @property
    def remote_filter(self) -> str:
        """The topic filter on the other side."""
        return self.remote_prefix + self.pattern

    @property
    def is_out(self) -> bool:
        """Whether messages go to the other broker."""
        return self.direction is not Direction.IN

    @property
    def is_in(self) -> bool:
        """Whether messages come from the other broker."""
        return self.direction is not Direction.OUT


def _check_filter(topic_filter: str, pattern: str) -> None:
    levels = topic_filter.split("/")
    wrong = "#" in levels[:-1] or any(len(level) > 1 and ("+" in level or "#" in level) for level in levels)
    if wrong or "\0" in topic_filter or not topic_filter or levels[0] == "$share":
        raise ValueError(
            f'"pattern": "{pattern}" with its prefix is "{topic_filter}", which is no topic filter: + and # stand '
            "alone between slashes, # at the end, and subscriptions here are not shared"
        )
    if len(topic_filter.encode(errors="replace")) > _FIELD_BYTES_MAX:
        raise ValueError(f'"pattern" with its prefix is longer than {_FIELD_BYTES_MAX:,} bytes')


@dataclass(frozen=True, slots=True)
class BridgeSettings:
    """One bridge to another broker."""

    name: Annotated[
        str,
        Option("What the bridge is called; after a reload it is the same as long as its name is.", example='"cloud"'),
    ]
    addresses: Annotated[
        tuple[str, ...],
        Option(
            "The other broker, as mqtt://, mqtts:// (TLS), ws://, wss:// or unix://; of several the first that can be "
            "reached.",
            example='["mqtts://cloud.example", "mqtt://10.0.0.2:1884"]',
        ),
    ]
    topics: Annotated[tuple[BridgeTopic, ...], Option("What crosses it; of several that match the first counts.")]
    round_robin: Annotated[
        bool,
        Option(
            "Whether all addresses are equal: the next one is tried when the connection is lost, and kept. false: "
            "while it is connected to another than the first, the first is tried and returned to."
        ),
    ] = False
    primary_retry_s: Annotated[
        Duration,
        Option("How often the first address is tried meanwhile.", key="primary_retry", minimum=0.1),
    ] = limits.BRIDGE_PRIMARY_RETRY_S
    protocol_version: Annotated[BridgeVersion, Option("The version of MQTT that is spoken with the other broker.")] = (
        BridgeVersion.V5
    )
    try_private: Annotated[
        bool,
        Option(
            "Below version 5: whether the other broker is told that this is a bridge, so that it sends nothing back "
            "and marks what is retained. One that does not understand is asked again without."
        ),
    ] = True
    remote_client_id: Annotated[
        str | None,
        Option(
            "Client identifier at the other broker; not set: the bridge's name, a dot and this machine's name.",
            example='"edge-7"',
        ),
    ] = None
    remote_user_name: Annotated[
        str | None, Option("User name at the other broker; not set: none.", example='"edge"')
    ] = None
    remote_password: Annotated[Secret | None, Option("Password at the other broker.", example='"..."')] = None
    clean_session: Annotated[
        bool,
        Option(
            "Whether the other broker forgets the bridge when the connection ends: what it would have sent meanwhile "
            "is lost then."
        ),
    ] = False
    session_expiry_s: Annotated[
        Duration | None,
        Option(
            "With version 5: how long the other broker keeps what it has for the bridge; not set: for good.",
            key="session_expiry",
            minimum=0,
            maximum=_NEVER - 1,
            example='"7d"',
        ),
    ] = None
    keep_alive_s: Annotated[
        int,
        Quantity.DURATION,
        Option(
            "After this long a silence the other broker is asked whether it is there still; 0: never.",
            key="keep_alive",
            minimum=0,
            maximum=65_535,
        ),
    ] = limits.BRIDGE_KEEP_ALIVE_S
    answer_timeout_s: Annotated[
        Duration,
        Option(
            "How long the other broker may take to accept a connection, and to answer.",
            key="answer_timeout",
            minimum=0.1,
        ),
    ] = limits.BRIDGE_ANSWER_TIMEOUT_S
    local_client_id: Annotated[
        str | None,
        Option('Client identifier here; not set: "local." and the one at the other broker.', example='"local.edge-7"'),
    ] = None
    local_user_name: Annotated[
        str | None,
        Option(
            "The user that the bridge is here, for access rules, which it is judged by then. Not set: it may do what "
            "its topics say, and nothing else.",
            example='"bridge"',
        ),
    ] = None
    local_clean_session: Annotated[
        bool | None,
        Option(
            "Whether messages that wait for the bridge are dropped when the connection ends; not set: as "
            "clean_session. With start_type lazy they never are.",
            example="false",
        ),
    ] = None
    start: Annotated[
        StartType,
        Option(
            "automatic: always connected. lazy: when messages wait, until none have crossed for a while. once: at the "
            "start and never again.",
            key="start_type",
        ),
    ] = StartType.AUTOMATIC
    lazy_threshold: Annotated[
        int, Option("With lazy: how many messages have to wait.", key="threshold", minimum=1, maximum=65_535)
    ] = limits.BRIDGE_LAZY_THRESHOLD
    idle_timeout_s: Annotated[
        Duration,
        Option("With lazy: how long nothing crosses before it leaves.", key="idle_timeout", minimum=0.1),
    ] = limits.BRIDGE_IDLE_TIMEOUT_S
    restart_delay_s: Annotated[
        Duration,
        Option(
            "The least wait before a connection that was lost, or could not be had, is tried again.",
            key="restart_delay",
            minimum=0.01,
        ),
    ] = limits.BRIDGE_RESTART_DELAY_S
    restart_delay_max_s: Annotated[
        Duration,
        Option(
            "The longest wait. Between the two it is drawn by lot, from a range that grows with each failure; the "
            "same as restart_delay: a fixed wait.",
            key="restart_delay_maximum",
            minimum=0.01,
        ),
    ] = limits.BRIDGE_RESTART_DELAY_MAX_S
    restart_settled_s: Annotated[
        Duration,
        Option(
            "A connection that has lasted this long counts as sound: the waits begin anew after it.",
            key="restart_settled_after",
            minimum=0,
        ),
    ] = limits.BRIDGE_RESTART_SETTLED_S
    notifications: Annotated[
        Notifications,
        Option("Who is told, by a retained 1 or 0, whether the bridge is connected: both brokers, this one, nobody."),
    ] = Notifications.BOTH
    notification_topic: Annotated[
        str | None,
        Option(
            "Where; not set: $SYS/broker/connection/<remote_client_id>/state.",
            example='"bridges/edge-7/state"',
        ),
    ] = None
    outgoing_retain: Annotated[
        bool, Option("Whether what is retained here is sent as retained; false: as any other message.")
    ] = True
    retain_handling: Annotated[
        RetainHandling,
        Option(
            "When retained messages cross: at each connection, when a topic is new to the bridge, never. What is "
            "published while it is connected crosses in any case. A broker below version 5 always sends its own."
        ),
    ] = RetainHandling.ALWAYS
    attempt_unsubscribe: Annotated[
        bool,
        Option("Whether the other broker is told to end subscriptions for topics that only go out, at each start."),
    ] = True
    packet_max_bytes: Annotated[
        Size | None,
        Option(
            "Largest packet sent to the other broker; larger messages are dropped. Not set: what it takes.",
            key="max_packet_size",
            minimum=20,
            maximum=limits.PACKET_MAX_BYTES_OF_MQTT,
            example='"256kB"',
        ),
    ] = None
    inflight_max: Annotated[
        int | None,
        Option(
            "Messages of QoS 1 and 2 sent to the other broker and not yet acknowledged. Not set: with version 5 what "
            f"it says that it takes, below {limits.BRIDGE_INFLIGHT_MAX}, since Mosquitto by default takes no more.",
            key="max_inflight_messages",
            minimum=1,
            maximum=65_535,
            example="100",
        ),
    ] = None
    receive_maximum: Annotated[
        int | None,
        Option(
            "With version 5: messages of QoS 1 and 2 that the other broker may send unacknowledged; not set: as "
            "limits.receive_maximum.",
            minimum=1,
            maximum=65_535,
            example="100",
        ),
    ] = None
    topic_alias_max: Annotated[
        int,
        Option(
            "With version 5: topic aliases, each way; 0: none.",
            key="topic_alias_maximum",
            minimum=0,
            maximum=65_535,
        ),
    ] = limits.BRIDGE_ALIAS_MAX
    queue_max_messages: Annotated[
        int | None,
        Option(
            "Messages that wait here for the other broker, connected or not; not set: as limits.max_queued_messages.",
            key="max_queued_messages",
            minimum=1,
            maximum=1_000_000_000,
            example="1_000_000",
        ),
    ] = None
    queue_max_bytes: Annotated[
        Size | None,
        Option(
            "The same in bytes: topic, properties and payload. They are in memory as well as on disk.",
            key="max_queued_bytes",
            minimum=1_024,
            maximum=1_000_000_000_000,
            example='"256MB"',
        ),
    ] = None
    rate_max_per_s: Annotated[
        float | None,
        Option(
            "Messages sent in a second, so that a backlog does not take the whole line; of QoS 0 what comes faster "
            "for long is dropped. Not set: any number.",
            key="max_messages_per_second",
            minimum=0.01,
            example="200",
        ),
    ] = None
    reload: Annotated[
        ReloadType,
        Option("immediate: other settings take effect at once, by a new connection. lazy: at the next connection."),
    ] = ReloadType.IMMEDIATE
    bind_address: Annotated[
        str | None,
        Option("Address of this machine that connections come from; not set: any.", example='"192.0.2.7"'),
    ] = None
    tcp: Annotated[BridgeTcpSettings, Option("What the system's TCP is told.")] = field(
        default_factory=BridgeTcpSettings
    )
    tls: Annotated[BridgeTlsSettings, Option("With mqtts:// and wss://: whom to believe, and who the bridge is.")] = (
        field(default_factory=BridgeTlsSettings)
    )

    def __post_init__(self) -> None:
        if not self.name or any(sign in self.name for sign in "/+#\0"):
            raise ValueError(f'"name": expected a name without /, + and #; got "{self.name}"')
        if not self.addresses:
            raise ValueError('"addresses" names no broker to connect to')
        for address in self.addresses:
            check_address(address)
        if not self.topics:
            raise ValueError('nothing crosses this bridge; add a table [[bridge.topics]] with a "pattern"')
        if self.remote_password is not None and self.remote_user_name is None and not self.speaks_version_5:
            raise ValueError('"remote_password" needs "remote_user_name" below version 5')
        if self.restart_delay_max_s < self.restart_delay_s:
            raise ValueError('"restart_delay_maximum" is below "restart_delay"')
        for key, text in (("remote_client_id", self.remote_client_id), ("local_client_id", self.local_client_id)):
            if text == "":
                raise ValueError(f'"{key}" is empty; leave it out, or give the bridge a name of its own')
        if self.local_user_name == "":
            raise ValueError('"local_user_name" is empty; leave it out')
        if any(sign in self.state_topic for sign in "+#\0") or not self.state_topic:
            raise ValueError(
                f'"notification_topic": expected a topic name, without wildcards; got "{self.state_topic}"'
            )

    @property
    def speaks_version_5(self) -> bool:
        """Whether the other broker can be told what version 5 has."""
        return self.protocol_version is BridgeVersion.V5

    @property
    def inflight_max_there(self) -> int:
        """How many messages the other broker is taken to hold unacknowledged, whatever it says itself."""
        if self.inflight_max is not None:
            return self.inflight_max
        return 65_535 if self.speaks_version_5 else limits.BRIDGE_INFLIGHT_MAX

    @property
    def client_id_there(self) -> str:
        """The client identifier at the other broker."""
        return self.remote_client_id or f"{self.name}.{_machine_name()}"

    @property
    def client_id_here(self) -> str:
        """The client identifier of the session here."""
        return self.local_client_id or f"local.{self.client_id_there}"

    @property
    def user_name_here(self) -> str:
        """Who the bridge is here; without a user of the operator's choice, one that no client is likely to have."""
        return self.local_user_name or f"{OWNER_PREFIX}{self.name}"

    @property
    def state_topic(self) -> str:
        """Where it is told whether the bridge is connected."""
        if self.notification_topic is not None:
            return self.notification_topic
        return f"$SYS/broker/connection/{self.client_id_there}/state"

    @property
    def is_kept_here(self) -> bool:
        """Whether messages wait here while the bridge is not connected; with lazy they have to."""
        if self.start is StartType.LAZY:
            return True
        return not (self.clean_session if self.local_clean_session is None else self.local_clean_session)


#: What the user of a bridge without ``local_user_name`` begins with.
OWNER_PREFIX: Final = "$bridge:"


def _machine_name() -> str:
    """This machine's name, as it may stand in a topic."""
    return re.sub(r"[/+#\0]", "-", platform.node()) or "localhost"
