"""The settings of one broker, typed, with their names in files, bounds, defaults and documentation.

What is written here is all there is to say about an option: the checks, ``noctule config example`` and ``noctule
config schema`` are made from it (``options.py``).
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from noctule.config import limits
from noctule.config.log import LogSettings
from noctule.config.mqtt_sn import MqttSnSettings
from noctule.config.options import Duration, Option, Quantity, Size
from noctule.config.problems import Positions
from noctule.config.tls import TlsSettings

#: The host name that stands for every address of the machine; so does an empty one.
EVERY_ADDRESS: Final = "*"

_GIGABYTE: Final = 1_000_000_000


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
    max_qos: Annotated[int, Option("Highest quality of service here.", minimum=0, maximum=2)] = 2


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
        Option(
            "A unix socket to listen on, in place of address and port.",
            later="unix sockets",
            example='"/run/noctule/mqtt.sock"',
        ),
    ] = None
    protocol: Annotated[
        Protocol,
        Option(
            "mqtt, or websocket for MQTT as browsers need it.",
            later="WebSocket",
            later_values=(Protocol.WEBSOCKET.value,),
        ),
    ] = Protocol.MQTT
    origins: Annotated[
        tuple[str, ...],
        Option("Web sites whose pages may connect by WebSocket (their Origin); none named: any.", later="WebSocket"),
    ] = ()
    proxy_protocol: Annotated[
        int | None,
        Option(
            "Version of the PROXY protocol in which a load balancer tells who connects; not set: nothing does.",
            minimum=1,
            maximum=2,
            later="the PROXY protocol",
            example="2",
        ),
    ] = None
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
        str, Option("Put before every topic of the clients here, and unseen by them.", later="mount points")
    ] = ""
    durability: Annotated[
        Durability | None,
        Option(
            "As the option of this name for all listeners, for this one: what acknowledgements to its clients wait "
            "for. memory: their sessions are not kept either.",
            example='"memory"',
        ),
    ] = None
    limits: Annotated[ListenerLimits, Option("Limits of this listener.", later="limits of one listener")] = field(
        default_factory=ListenerLimits
    )
    tls: Annotated[TlsSettings | None, Option("TLS; not set: plain text.", later="TLS")] = None

    def __post_init__(self) -> None:
        if not self.hosts and self.path is None:
            raise ValueError('"address" names nothing to listen on')

    @property
    def hosts(self) -> tuple[str, ...]:
        """The addresses and host names, however many."""
        return (self.host,) if isinstance(self.host, str) else self.host

    @property
    def name(self) -> str:
        """Where it listens, for people; a listener is the same as before a reload where this is."""
        if self.path is not None:
            return str(self.path)
        return ", ".join(f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}" for host in self.hosts)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return self.path is not None or all(map(_is_loopback, self.hosts))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
            "How plain TCP is carried: by one epoll set for all (reactor), or a task each (streams); not set: the "
            "reactor where the system has epoll.",
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
    plugins: Annotated[tuple[PluginSettings, ...], Option(is_internal=True)] = ()

    def admits_anonymous(self, listener: ListenerSettings) -> bool:
        """Whether a client without a user name is let in there."""
        for said in (listener.allow_anonymous, self.allow_anonymous):
            if said is not None:
                return said
        return listener.is_local and not any(plugin.authenticates for plugin in self.plugins)
