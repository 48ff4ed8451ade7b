"""The settings of one broker, typed, with their names in files, bounds, defaults and documentation.

What is written here is all there is to say about an option: the checks, ``noctule config example`` and ``noctule
config schema`` are made from it (``options.py``).
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from noctule.config import limits
from noctule.config.addresses import is_loopback
from noctule.config.bridges import BridgeSettings
from noctule.config.http import HttpSettings
from noctule.config.log import LogSettings
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.config.options import Duration, Option, Quantity, Size
from noctule.config.problems import Positions
from noctule.config.tls import TlsSettings

#: The host name that stands for every address of the machine; so does an empty one.
EVERY_ADDRESS: Final = "*"

_GIGABYTE: Final = 1_000_000_000


class Carrier(Enum):
    """How the bytes of connections are carried."""

    #: One epoll set for all sockets. Linux only.
    REACTOR = "reactor"

    #: Two trio tasks for each connection: for systems without epoll.
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


class Durability(Enum):
    """Where state must be before it is acknowledged, and so what an acknowledgement survives."""

    #: Synced to disk: survives a loss of power.
    DISK = "disk"

    #: Handed to the operating system: survives the end of the process.
    OS = "os"

    #: Nowhere: ends with the process.
    MEMORY = "memory"


class Protocol(Enum):
    """What is spoken on a listener."""

    MQTT = "mqtt"

    #: MQTT in WebSocket frames, as browsers need it.
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class ListenerLimits:
    """Limits of one listener."""

    max_connections: Annotated[
        int | None, Option("Connections at one time; not set: any number.", minimum=1, example="1000")
    ] = None
    max_connections_per_address: Annotated[
        int | None, Option("Connections at one time from one address; not set: any number.", minimum=1, example="100")
    ] = None
    accepts_per_s_max: Annotated[
        int | None,
        Option(
            "Connections accepted in a second; others wait in the system's queue. Not set: any number.",
            key="max_accepts_per_second",
            minimum=1,
            example="500",
        ),
    ] = None
    handshakes_max: Annotated[
        int,
        Option(
            "Connections that may be within the handshake of TLS or WebSocket, or the header of a proxy, at one time; "
            "others wait in the system's queue.",
            key="max_handshakes",
            minimum=1,
        ),
    ] = limits.HANDSHAKES_MAX
    handshakes_per_address_max: Annotated[
        int | None,
        Option(
            "The same from one address, so that it cannot keep out all others; those beyond are closed. Not set: a "
            "quarter of max_handshakes. Where a balancer that tells no addresses (proxy) stands before the listener "
            "all clients have its address: set it to max_handshakes there.",
            key="max_handshakes_per_address",
            minimum=1,
            example="1000",
        ),
    ] = None
    packet_max_bytes: Annotated[
        Size | None,
        Option(
            "Largest packet accepted here; not set: as limits.max_packet_size says.",
            key="max_packet_size",
            minimum=20,
            maximum=limits.PACKET_MAX_BYTES_OF_MQTT,
            example='"256kB"',
        ),
    ] = None
    max_qos: Annotated[
        int,
        Option(
            "Highest quality of service that clients here may publish with, and that subscriptions made here get.",
            minimum=0,
            maximum=2,
        ),
    ] = 2


@dataclass(frozen=True, slots=True)
class TcpSettings:
    """What the system's TCP is told for one listener."""

    interface: Annotated[
        str, Option("Only connections that come in by this network interface; empty: by any. Linux only.")
    ] = ""
    backlog: Annotated[
        int, Option("Connections that the system holds until they are accepted.", minimum=1, maximum=65_535)
    ] = limits.BACKLOG
    keep_alive_s: Annotated[
        int,
        Quantity.DURATION,
        Option(
            "After this long a silence the system asks whether the other side is there still, for clients without a "
            "Keep Alive of MQTT; 0: never.",
            key="keep_alive",
            minimum=0,
            maximum=32_767,
        ),
    ] = limits.TCP_KEEP_ALIVE_S
    user_timeout_s: Annotated[
        Duration,
        Option(
            "How long what was sent may stay without the other system's acknowledgement; 0: as the system has it.",
            key="user_timeout",
            minimum=0,
            maximum=86_400,
        ),
    ] = 0.0


@dataclass(frozen=True, slots=True)
class UnixSocketSettings:
    """Who may use the unix socket of one listener, and who they are then."""

    mode: Annotated[str, Option("Permissions of the socket, as chmod takes them: who may write to it may connect.")] = (
        "0660"
    )
    owner: Annotated[str, Option("User that the socket belongs to; empty: the broker's own.")] = ""
    group: Annotated[str, Option("Group that the socket belongs to; empty: the broker's own.")] = ""
    peer_user_name: Annotated[
        bool,
        Option("Whether the user that the other process runs as is the client's user name. Linux only."),
    ] = False

    def __post_init__(self) -> None:
        if not re.fullmatch("0?[0-7]{3}", self.mode):
            raise ValueError(f'"mode": expected permissions such as "0660"; got "{self.mode}"')


@dataclass(frozen=True, slots=True)
class WebSocketSettings:
    """WebSocket of one listener."""

    path: Annotated[
        str,
        Option('The one path that clients may ask for, such as "/mqtt"; empty: any. What follows ? is not looked at.'),
    ] = ""
    origins: Annotated[
        tuple[str, ...],
        Option(
            "Web sites whose pages may connect (their Origin, as browsers send it); none named: any. Clients that are "
            "no browsers send none and are not asked for it.",
            example='["https://panel.example"]',
        ),
    ] = ()
    header_max_bytes: Annotated[
        Size,
        Option("Largest HTTP request that asks for WebSocket.", key="max_header_size", minimum=256, maximum=1_048_576),
    ] = limits.HTTP_HEADER_MAX_BYTES

    def __post_init__(self) -> None:
        if self.path and (not self.path.startswith("/") or "?" in self.path):
            raise ValueError(f'"path": expected a path that begins with /; got "{self.path}"')
        for origin in self.origins:
            if not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+|null", origin):
                raise ValueError(
                    f'"origins": expected a site as browsers name it, such as "https://panel.example"; got "{origin}"'
                )


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The load balancer or reverse proxy before one listener, and what of it is believed."""

    trusted: Annotated[
        tuple[str, ...],
        Option(
            "Addresses and networks of the proxies. From nobody else is anything believed about who connects: with "
            "protocol_version nobody else is let in, without it X-Forwarded-For of WebSocket is read from these alone.",
            example='["10.0.0.0/8"]',
        ),
    ] = ()
    protocol_version: Annotated[
        int | None,
        Option(
            "Version of the PROXY protocol in which each connection begins; not set: it is not spoken.",
            minimum=1,
            maximum=2,
            example="2",
        ),
    ] = None
    user_name_from_certificate: Annotated[
        bool,
        Option(
            "Whether the common name of the client certificate that the proxy has verified (PROXY protocol 2) is the "
            "user name."
        ),
    ] = False
    require_tls: Annotated[
        bool, Option("Whether the client must have come to the proxy by TLS (PROXY protocol 2).")
    ] = False

    def __post_init__(self) -> None:
        for network in self.trusted:
            try:
                ipaddress.ip_network(network)
            except ValueError as error:
                raise ValueError(f'"trusted": {error}') from None
        if self.protocol_version is not None and not self.trusted:
            raise ValueError('"protocol_version" needs "trusted": the proxies, from which alone it is believed')
        for given, key in (
            (self.user_name_from_certificate, "user_name_from_certificate"),
            (self.require_tls, "require_tls"),
        ):
            if given and self.protocol_version != 2:
                raise ValueError(f'"{key}" needs version 2 of the PROXY protocol')


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """One address, or several, to listen on."""

    host: Annotated[
        str | tuple[str, ...],
        Option(
            'Address or host name to listen on, or an array of them; "*" is every address of this machine.',
            key="address",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Option("TCP port; 0 lets the system choose one that is free.", minimum=0, maximum=65_535)] = (
        1883
    )
    path: Annotated[
        Path | None,
        Option("A unix socket to listen on, in place of address and port.", example='"/run/noctule/mqtt.sock"'),
    ] = None
    systemd_socket: Annotated[
        str,
        Option(
            "The name (FileDescriptorName) of sockets that systemd has opened for the broker, in place of address and "
            "port; empty: none."
        ),
    ] = ""
    protocol: Annotated[Protocol, Option("mqtt, or websocket for MQTT as browsers need it.")] = Protocol.MQTT
    transport: Annotated[
        str,
        Option("The transport of a plugin that serves this listener, by the plugin's name for it; empty: our own."),
    ] = ""
    allow_anonymous: Annotated[
        bool | None,
        Option("As the option of this name for all listeners, for this one.", example="false"),
    ] = None
    authentication: Annotated[
        tuple[str, ...] | None,
        Option(
            "Names of the plugins that decide on who connects here; not set: all of them.",
            later="authentication by listener",
            example='["password_file"]',
        ),
    ] = None
    mount_point: Annotated[
        str,
        Option(
            "Put before every topic of the clients here, and unseen by them: what they publish, their Wills, what they "
            "subscribe to. Rules of access and logs have the whole topic. It ends with '/'.",
            example='"plant/a/"',
        ),
    ] = ""
    durability: Annotated[
        Durability | None,
        Option(
            "As the option of this name for all listeners, for this one: what acknowledgements to its clients wait "
            "for. memory: their sessions are not kept either.",
            example='"memory"',
        ),
    ] = None
    limits: Annotated[ListenerLimits, Option("Limits of this listener.")] = field(default_factory=ListenerLimits)
    tcp: Annotated[TcpSettings, Option("What the system's TCP is told.")] = field(default_factory=TcpSettings)
    unix: Annotated[UnixSocketSettings, Option("Who may use the unix socket.")] = field(
        default_factory=UnixSocketSettings
    )
    websocket: Annotated[WebSocketSettings, Option("With protocol websocket: who may ask for it, and how.")] = field(
        default_factory=WebSocketSettings
    )
    proxy: Annotated[ProxySettings, Option("The proxy that stands before this listener.")] = field(
        default_factory=ProxySettings
    )
    tls: Annotated[TlsSettings | None, Option("TLS; not set: plain text.")] = None

    def __post_init__(self) -> None:
        if not self.hosts and self.path is None and not self.systemd_socket:
            raise ValueError('"address" names nothing to listen on')
        if self.mount_point and (
            not self.mount_point.endswith("/")
            or self.mount_point.startswith("$")
            or any(character in self.mount_point for character in "+#\0")
            or len(self.mount_point.encode()) > limits.MOUNT_POINT_MAX_BYTES
        ):
            raise ValueError(
                '"mount_point": expected the beginning of topics that ends with "/", without wildcards, and no "$" in '
                "front"
            )
        if self.path is not None and self.systemd_socket:
            raise ValueError('"path" and "systemd_socket" are two places to listen on: one of them')
        if self.tls is not None and self.tls.user_name_from is not None and self.proxy.user_name_from_certificate:
            raise ValueError('"tls.user_name_from" and "proxy.user_name_from_certificate" exclude each other')

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses and host names, however many."""
        return (self.host,) if isinstance(self.host, str) else self.host

    @property
    def name(self) -> str:
        """Where it listens, for people; a listener is the same as before a reload where this is."""
        if self.path is not None:
            return str(self.path)
        if self.systemd_socket:
            return f"systemd:{self.systemd_socket}"
        if self.transport:
            return f"{self.transport}:{', '.join(self.hosts)}:{self.port}"
        return ", ".join(f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" for host in self.hosts)

    @property
    def proves_users(self) -> bool:
        """Whether the transport may prove who a client is: by certificate, pre-shared key or user of the system."""
        by_tls = self.tls is not None and (self.tls.require_certificate or self.tls.uses_psk)
        by_proxy = self.proxy.protocol_version is not None and self.proxy.user_name_from_certificate
        return by_tls or by_proxy or self.unix.peer_user_name

    @property
    def names_users(self) -> bool:
        """Whether the transport's word for who a client is takes the place of the user name."""
        by_tls = self.tls is not None and (self.tls.user_name_from is not None or self.tls.uses_psk)
        return by_tls or self.proxy.user_name_from_certificate or self.unix.peer_user_name

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect, as far as this is known."""
        if self.systemd_socket or self.proxy.protocol_version is not None:
            return False
        return self.path is not None or all(map(is_loopback, self.hosts))


@dataclass(frozen=True, slots=True)
class Limits:
    """What a stranger can make us hold. The constants in ``limits.py`` give the reasons."""

    packet_max_bytes: Annotated[
        Size,
        Option(
            "Largest packet accepted, header included; a client of version 5 is told.",
            key="max_packet_size",
            minimum=20,
            maximum=limits.PACKET_MAX_BYTES_OF_MQTT,
            unsafe_above=64_000_000,
        ),
    ] = limits.PACKET_MAX_BYTES
    connect_max_bytes: Annotated[
        Size,
        Option(
            "Largest CONNECT: it comes from a stranger.",
            key="max_connect_size",
            minimum=64,
            maximum=limits.PACKET_MAX_BYTES_OF_MQTT,
            unsafe_above=1_048_576,
        ),
    ] = limits.CONNECT_MAX_BYTES
    connect_timeout_s: Annotated[
        Duration,
        Option(
            "How long a connection may take until its client has been let in.",
            key="connect_timeout",
            minimum=0.1,
            unsafe_above=120,
        ),
    ] = limits.CONNECT_TIMEOUT_S
    decision_timeout_s: Annotated[
        Duration,
        Option(
            "How long one answer may take that is waited for: a plugin's, a step of authentication.",
            key="decision_timeout",
            minimum=0.01,
            unsafe_above=120,
        ),
    ] = limits.DECISION_TIMEOUT_S
    auth_steps_max: Annotated[
        int,
        Option("Steps of one exchange of enhanced authentication.", key="max_auth_steps", minimum=1, maximum=1_000),
    ] = limits.AUTH_STEPS_MAX
    auth_per_minute_max: Annotated[
        int,
        Option("AUTH packets of one connection in a minute.", key="max_auth_per_minute", minimum=1, unsafe_above=6_000),
    ] = limits.AUTH_PER_MINUTE_MAX
    login_failures_per_address: Annotated[
        int,
        Option(
            "Failed logins in a minute from one address (of IPv6: one network of 64 bits) after which further ones are "
            "refused unseen; 0: any number.",
            key="max_login_failures_per_address",
            minimum=0,
        ),
    ] = limits.LOGIN_FAILURES_PER_ADDRESS
    login_failures_per_user: Annotated[
        int,
        Option(
            "The same for one user name, but for addresses from which that user has logged in before; 0: any number.",
            key="max_login_failures_per_user",
            minimum=0,
        ),
    ] = limits.LOGIN_FAILURES_PER_USER
    end_timeout_s: Annotated[
        Duration,
        Option(
            "How long a connection that is ended may take to read what it was sent.",
            key="disconnect_timeout",
            minimum=0,
            unsafe_above=60,
        ),
    ] = limits.END_TIMEOUT_S
    stop_timeout_s: Annotated[
        Duration, Option("How long a graceful stop may take in all.", key="stop_timeout", minimum=0)
    ] = limits.STOP_TIMEOUT_S
    write_max_bytes: Annotated[
        Size,
        Option(
            "Written to a connection and not yet taken by its socket; beyond it QoS 0 is dropped, the rest queued.",
            key="max_write_buffer",
            minimum=1_024,
            maximum=_GIGABYTE,
            unsafe_above=16_777_216,
        ),
    ] = limits.WRITE_MAX_BYTES
    queue_max_messages: Annotated[
        int,
        Option(
            "Messages that wait for one client, connected or not.",
            key="max_queued_messages",
            minimum=1,
            maximum=_GIGABYTE,
            unsafe_above=1_000_000,
        ),
    ] = limits.QUEUE_MAX_MESSAGES
    queue_max_bytes: Annotated[
        Size,
        Option(
            "The same in bytes: topic, properties and payload.",
            key="max_queued_bytes",
            minimum=1_024,
            maximum=1_000 * _GIGABYTE,
            unsafe_above=268_435_456,
        ),
    ] = limits.QUEUE_MAX_BYTES
    inflight_max: Annotated[
        int,
        Option(
            "Messages of QoS 1 and 2 sent to one client and not yet acknowledged; its own Receive Maximum may be less.",
            key="max_inflight_messages",
            minimum=1,
            maximum=65_535,
        ),
    ] = limits.INFLIGHT_MAX
    receive_maximum: Annotated[
        int,
        Option(
            "Receive Maximum that clients are told: messages of QoS 1 and 2 that they may have unacknowledged.",
            minimum=1,
            maximum=65_535,
        ),
    ] = limits.RECEIVE_MAXIMUM
    topic_levels_max: Annotated[
        int,
        Option(
            "Levels of a topic name or filter.", key="max_topic_levels", minimum=1, maximum=65_535, unsafe_above=1_000
        ),
    ] = limits.TOPIC_LEVELS_MAX
    subscriptions_max: Annotated[
        int,
        Option(
            "Subscriptions of one client.", key="max_subscriptions", minimum=1, maximum=_GIGABYTE, unsafe_above=100_000
        ),
    ] = limits.SUBSCRIPTIONS_MAX
    sessions_max: Annotated[
        int,
        Option(
            "Sessions of all clients, connected or not; whoever would need one more is refused (0x97). 0: any number.",
            key="max_sessions",
            minimum=0,
        ),
    ] = limits.SESSIONS_MAX
    session_expiry_max_s: Annotated[
        int | None,
        Quantity.DURATION,
        Option(
            "The longest time that a session outlives its connection; clients of version 3.1 and 3.1.1 get it with "
            "Clean Session 0, one of version 5 that asks for more gets it and is told. Bridges' sessions here stay. "
            "Not set: any time, and for good.",
            key="max_session_expiry",
            minimum=1,
            maximum=0xFFFFFFFE,
            example='"30d"',
        ),
    ] = None
    retained_max: Annotated[
        int,
        Option(
            "Retained messages in all. One more, on a topic that has none, is refused (0x97) where it can be, by a "
            "client of version 5 at QoS 1 and 2; else it is delivered and not retained. 0: any number.",
            key="max_retained_messages",
            minimum=0,
            maximum=_GIGABYTE,
        ),
    ] = limits.RETAINED_MAX
    alias_max_in: Annotated[
        int,
        Option(
            "Topic Alias Maximum that clients are told: aliases that one may use towards us.",
            key="topic_alias_maximum",
            minimum=0,
            maximum=65_535,
            unsafe_above=1_000,
        ),
    ] = limits.ALIAS_MAX_IN
    alias_max_out: Annotated[
        int,
        Option(
            "Aliases that we use towards one client; its own Topic Alias Maximum may be less.",
            key="topic_alias_maximum_outgoing",
            minimum=0,
            maximum=65_535,
            unsafe_above=1_000,
        ),
    ] = limits.ALIAS_MAX_OUT


@dataclass(frozen=True, slots=True)
class ClientIdSettings:
    """Which client identifiers there may be."""

    allow_empty: Annotated[
        bool,
        Option("Whether a client may leave its identifier to the broker; false: without one it is refused (0x85)."),
    ] = True
    assigned_prefix: Annotated[str, Option("What the identifiers begin with that the broker makes.")] = "auto-"
    prefixes: Annotated[
        tuple[str, ...],
        Option(
            "Clients are let in whose identifier begins with one of these, others refused (0x85); none named: any. "
            "It counts for identifiers that the broker makes too.",
            example='["sensor-"]',
        ),
    ] = ()

    def __post_init__(self) -> None:
        if len(self.assigned_prefix) > limits.ASSIGNED_PREFIX_MAX or not self.assigned_prefix.isprintable():
            raise ValueError(
                f'"assigned_prefix": expected up to {limits.ASSIGNED_PREFIX_MAX} characters that can be printed'
            )
        if "" in self.prefixes:
            raise ValueError('"prefixes": every identifier begins with an empty text; leave the key out')

    def allows(self, client_id: str) -> bool:
        """Whether it begins as it has to; empty: one that the broker makes."""
        return not self.prefixes or (client_id or self.assigned_prefix).startswith(self.prefixes)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """One ``[plugins.NAME]``: which plugin, and its options as they were written.

    ``check_table(options, Config, positions)`` makes them the plugin's own type.
    """

    name: str

    #: What is loaded: the name itself unless the table says otherwise with ``plugin = "..."``.
    plugin: str

    options: Mapping[str, object] = field(repr=False)  # there may be secrets in it
    positions: Positions = field(compare=False, repr=False)

    #: The same as the plugin's own type; None where it has none.
    config: object = field(default=None, compare=False)

    #: Whether it may decide on who connects.
    authenticates: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """All that one broker is told."""

    listeners: Annotated[tuple[ListenerSettings, ...], Option("Where clients connect.")] = (ListenerSettings(),)
    limits: Annotated[Limits, Option("What one client, or a stranger, can make the broker hold.")] = field(
        default_factory=Limits
    )
    carrier: Annotated[
        Carrier | None,
        Option(
            "How connections are carried: by one epoll set for all (reactor), or by tasks of their own (streams); not "
            "set: the reactor where the system has epoll.",
            needs_restart=True,
            example='"reactor"',
        ),
    ] = None
    share_strategy: Annotated[
        ShareStrategy,
        Option("How a shared subscription chooses the member that gets a message.", needs_restart=True),
    ] = ShareStrategy.ROUND_ROBIN
    keep_alive_max_s: Annotated[
        int,
        Quantity.DURATION,
        Option(
            "The longest Keep Alive; 0: any, and none too. A client of version 5 that asks for a longer one, or for "
            "none, gets this one and is told; older versions cannot be told and are refused.",
            key="keep_alive_maximum",
            minimum=0,
            maximum=65_535,
        ),
    ] = 0
    response_information: Annotated[
        bool,
        Option(
            "Whether a client that asks for Response Information gets response/<its identifier>/ as the base of its "
            "Response Topics. It is advice: who may subscribe there is for the access rules to say."
        ),
    ] = True
    client_id_ownership: Annotated[
        bool,
        Option(
            "Whether a client identifier belongs to the user that created its session: another user, or a client "
            "without a user name, can neither take it over nor end it while the session lasts. false: whoever comes "
            "last has it, as in Mosquitto."
        ),
    ] = True
    client_ids: Annotated[ClientIdSettings, Option("Which client identifiers there may be.")] = field(
        default_factory=ClientIdSettings
    )
    allow_anonymous: Annotated[
        bool | None,
        Option(
            "Whether clients without a user name are let in; not set: only where no plugin decides on who connects, "
            "and only from this machine.",
            example="false",
        ),
    ] = None
    durability: Annotated[
        Durability,
        Option(
            "Where state must be before it is acknowledged: disk survives a loss of power, os the end of the process, "
            "memory neither.",
            needs_restart=True,
        ),
    ] = Durability.DISK
    data_directory: Annotated[
        Path | None,
        Option(
            "Where state is kept; not set: /var/lib/noctule for root, otherwise noctule in $XDG_STATE_HOME or in "
            "~/.local/state. A store plugin may have its own.",
            needs_restart=True,
            example='"/var/lib/noctule"',
        ),
    ] = None
    pid_file: Annotated[
        Path | None,
        Option(
            "A file that has the broker's process number while it runs.", needs_restart=True, example='"noctule.pid"'
        ),
    ] = None
    log: Annotated[LogSettings, Option("What is logged, how, and where to.", key="logging")] = field(
        default_factory=LogSettings
    )
    mqtt_sn: Annotated[
        tuple[MqttSnSettings, ...], Option("MQTT-SN gateways: sensors that speak MQTT-SN over UDP.", needs_restart=True)
    ] = ()
    http: Annotated[HttpSettings, Option("Metrics, health and the state of the broker, over HTTP.")] = field(
        default_factory=HttpSettings
    )
    sys_interval_s: Annotated[
        Duration,
        Option(
            "How often what has changed is published below $SYS; 0: never, and nothing is there.",
            key="sys_interval",
            minimum=0,
        ),
    ] = 10.0
    bridges: Annotated[
        tuple[BridgeSettings, ...], Option("Bridges: other brokers that messages come from or go to.", key="bridge")
    ] = ()
    plugins: Annotated[tuple[PluginSettings, ...], Option(is_internal=True)] = ()

    def admits_anonymous(self, listener: ListenerSettings) -> bool:
        """Whether a client without a user name is let in there."""
        for said in (listener.allow_anonymous, self.allow_anonymous):
            if said is not None:
                return said
        return listener.is_local and not any(plugin.authenticates for plugin in self.plugins)
