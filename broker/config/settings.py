"""The settings of one broker, typed, with their defaults."""

from dataclasses import dataclass, field
from enum import Enum

from noctule.config import limits


class Carrier(Enum):
    """How the bytes of a plain TCP connection are carried."""

    #: One epoll set for all sockets. Linux only.
    REACTOR = "reactor"

    #: A trio task for each connection: what TLS and WebSocket use, and systems without epoll.
    STREAMS = "streams"


class ShareStrategy(Enum):
    """How a shared subscription chooses the member that gets a message, among those that can take it now."""

    ROUND_ROBIN = "round_robin"

    #: Whoever has the fewest messages unacknowledged and waiting.
    LEAST_INFLIGHT = "least_inflight"

    #: The same member as long as it can take messages.
    STICKY = "sticky"

    #: The same member for the same topic, or for the same publisher, as long as the group does not change.
    HASH_TOPIC = "hash_topic"
    HASH_PUBLISHER = "hash_publisher"


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address to listen on; port 0 lets the system choose."""

    host: str = "127.0.0.1"
    port: int = 1883


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger can make us hold. The constants in ``limits`` give the reasons."""

    packet_max_bytes: int = limits.PACKET_MAX_BYTES
    connect_max_bytes: int = limits.CONNECT_MAX_BYTES
    connect_timeout_s: float = limits.CONNECT_TIMEOUT_S
    decision_timeout_s: float = limits.DECISION_TIMEOUT_S
    auth_steps_max: int = limits.AUTH_STEPS_MAX
    auth_per_minute_max: int = limits.AUTH_PER_MINUTE_MAX
    end_timeout_s: float = limits.END_TIMEOUT_S
    stop_timeout_s: float = limits.STOP_TIMEOUT_S
    write_max_bytes: int = limits.WRITE_MAX_BYTES
    queue_max_messages: int = limits.QUEUE_MAX_MESSAGES
    queue_max_bytes: int = limits.QUEUE_MAX_BYTES
    inflight_max: int = limits.INFLIGHT_MAX
    receive_maximum: int = limits.RECEIVE_MAXIMUM
    topic_levels_max: int = limits.TOPIC_LEVELS_MAX
    subscriptions_max: int = limits.SUBSCRIPTIONS_MAX
    alias_max_in: int = limits.ALIAS_MAX_IN
    alias_max_out: int = limits.ALIAS_MAX_OUT


@dataclass(frozen=True, slots=True)
class Settings:
    """All that one broker is told."""

    listeners: tuple[ListenerSettings, ...] = (ListenerSettings(),)
    limits: Limits = field(default_factory=Limits)

    #: None: the reactor where the system has epoll, streams elsewhere.
    carrier: Carrier | None = None

    share_strategy: ShareStrategy = ShareStrategy.ROUND_ROBIN

    #: The longest Keep Alive in seconds; 0: any, and none too. A client of version 5 that asks for a longer one, or
    #: for none, gets this one and is told; older versions cannot be told, and it is refused as Mosquitto does.
    keep_alive_max_s: int = 0

    #: Whether a client that asks for Response Information gets ``response/<its identifier>/`` as the base of its
    #: Response Topics. It is advice: who may subscribe there is for the access rules to say.
    response_information: bool = True
