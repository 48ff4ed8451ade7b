"""What the interface answers, as types: the answers are made of them, and so is their description."""

from dataclasses import dataclass
from typing import Annotated, Any


@dataclass(frozen=True, slots=True)
class Version:
    """What runs here."""

    name: str
    version: str
    python: str
    api: Annotated[int, "Of this interface; it grows when something is taken away or means something else."]
    started_at: Annotated[str, "ISO 8601."]
    uptime_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """One address, or several, that clients connect to, as configured."""

    name: str
    protocol: Annotated[str, "mqtt or websocket."]
    has_tls: bool
    allows_anonymous: bool
    connections: Annotated[int, "At this moment."]


@dataclass(frozen=True, slots=True)
class Listeners:
    """Where clients connect."""

    urls: Annotated[list[str], "The addresses that are listened on."]
    items: list[Listener]


@dataclass(frozen=True, slots=True)
class Client:
    """A session, with its connection where it has one."""

    client_id: str
    user_name: Annotated[str | None, "null: anonymous."]
    is_connected: bool
    peer: Annotated[str | None, "Address and port; null where it is away since before the broker was started."]
    listener: str | None
    protocol: Annotated[str | None, "3.1, 3.1.1 or 5.0."]
    connected_for_s: float | None
    keep_alive_s: int | None
    session_expiry_interval_s: Annotated[int | None, "How long the session outlives its connection; null: for good."]
    session_ends_in_s: Annotated[float | None, "null: it is connected, or its session does not end."]
    subscriptions: int
    queued_messages: Annotated[int, "That wait for the client."]
    queued_bytes: int
    inflight_messages: Annotated[int, "Sent and not acknowledged."]
    unreleased_messages: Annotated[int, "QoS 2: received, and not released."]
    dropped_messages: Annotated[int, "Of this session, since it began or the broker was started."]
    is_kept: Annotated[bool, "Whether the session survives a restart."]


@dataclass(frozen=True, slots=True)
class Subscription:
    """One subscription of a client."""

    client_id: str
    topic_filter: str
    share_name: str | None
    qos: int
    no_local: bool
    retain_as_published: bool
    identifier: int | None


@dataclass(frozen=True, slots=True)
class Will:
    """What is published when the connection breaks; its payload is not shown."""

    topic: str
    qos: int
    retain: bool
    delay_s: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """Of the present connection."""

    received_bytes: int
    sent_bytes: int
    unsent_bytes: Annotated[int, "Written, and not yet taken by the network."]
    publishes_received: int
    publishes_sent: int


@dataclass(frozen=True, slots=True)
class Rates:
    """Of the present connection, per second."""

    over_s: Annotated[float, "The time that was looked at: the whole connection, or rate_interval_s."]
    received_bytes: float
    sent_bytes: float
    publishes_received: float
    publishes_sent: float


@dataclass(frozen=True, slots=True)
class ClientDetail:
    """All there is to know about one client."""

    client: Client
    will: Will | None
    traffic: Traffic | None
    rates: Rates | None
    subscriptions: Annotated[list[Subscription], "The first of them; /api/v1/subscriptions has all."]


@dataclass(frozen=True, slots=True)
class Page:
    """Where in the whole a page of a list is."""

    total: Annotated[int, "How many match; where is_total_exact is false there are more."]
    is_total_exact: bool
    offset: int
    limit: int


@dataclass(frozen=True, slots=True)
class Clients:
    """A page of clients."""

    page: Page
    items: list[Client]


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """A page of subscriptions."""

    page: Page
    items: list[Subscription]


@dataclass(frozen=True, slots=True)
class Retained:
    """A retained message."""

    topic: str
    qos: int
    payload_bytes: int
    expires_in_s: float | None
    payload_text: Annotated[str | None, "Where it was asked for and is UTF-8."]
    payload_base64: Annotated[str | None, "Where it was asked for and is not."]
    is_payload_cut: bool


@dataclass(frozen=True, slots=True)
class RetainedMessages:
    """A page of retained messages."""

    page: Page
    items: list[Retained]


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that is loaded."""

    name: str
    origin: str
    hooks: list[str]


@dataclass(frozen=True, slots=True)
class Plugins:
    """In the order in which they are asked."""

    items: list[Plugin]


@dataclass(frozen=True, slots=True)
class Configuration:
    """The configuration in effect, by the names of files. Secrets are not in it."""

    values: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Denial:
    """What a client was not allowed."""

    at: str
    client_id: str
    user_name: str | None
    peer: str
    action: str
    topic: str
    rule: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a connection was ended or refused."""

    at: str
    peer: str
    client: Annotated[str, "The client identifier in brackets; empty where it is not known."]
    text: str
    rule: Annotated[str, "The statement of the specification; empty where it is none."]


@dataclass(frozen=True, slots=True)
class Drops:
    """Messages that one client has lost."""

    at: Annotated[str, "When that was noticed."]
    client_id: str
    count: int


@dataclass(frozen=True, slots=True)
class Events:
    """What has gone wrong lately, the latest first; old entries make room for new ones."""

    denials: list[Denial]
    faults: list[Fault]
    drops: list[Drops]
    dropped: Annotated[dict[str, int], "Messages that were not delivered since the start, by reason."]


@dataclass(frozen=True, slots=True)
class LogLevel:
    """From what on one logger logs."""

    logger: Annotated[str, "Empty: all that have no level of their own."]
    level: Annotated[str | None, "debug, info, warning, error or none; null: that of the logger above."]
    effective: str


@dataclass(frozen=True, slots=True)
class LogLevels:
    """The levels of the log."""

    items: list[LogLevel]


@dataclass(frozen=True, slots=True)
class NewLevel:
    """Another level for a logger, until the configuration is read again."""

    level: Annotated[str | None, "debug, info, warning, error or none; null: that of the logger above."]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why there is no answer."""

    status: int
    error: str
