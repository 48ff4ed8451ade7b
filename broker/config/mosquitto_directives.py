"""Every directive of mosquitto.conf as of Mosquitto 2.1, and what becomes of it here."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from noctule.config.problems import KeyPath


class Reading(Enum):
    """How the rest of a directive's line is read."""

    TEXT = "text"
    FLAG = "flag"
    NUMBER = "number"

    #: To the end of the line, whatever stands there: a topic may be ``#``, and a password have blanks.
    WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Mapped:
    """Becomes the value of a key; ``words`` are what some texts become in place of themselves."""

    path: KeyPath
    reading: Reading = Reading.TEXT
    words: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class OfListener(Mapped):
    """Becomes the value of a key of the listener above it."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Cannot be honoured: an error, unless the value is one that asks for nothing."""

    why: str
    harmless: tuple[str, ...] = ()
    reading: Reading = Reading.TEXT

    #: Belongs to the listener above it.
    of_listener: bool = False


@dataclass(frozen=True, slots=True)
class Ignored:
    """Has no effect here: a warning, unless the value is one that asks for nothing."""

    why: str
    harmless: tuple[str, ...] = ()
    reading: Reading = Reading.TEXT


@dataclass(frozen=True, slots=True)
class Needless:
    """Has no effect here and is missed by nobody: told to whoever converts the file."""

    why: str
    reading: Reading = Reading.TEXT


@dataclass(frozen=True, slots=True)
class OfBridge:
    """Belongs to the ``connection`` above it."""

    reading: Reading = Reading.TEXT


@dataclass(frozen=True, slots=True)
class Special:
    """Has a method of the reader's."""

    reading: Reading = Reading.TEXT


Directive = Mapped | Refused | Ignored | Needless | OfBridge | Special

_NOT_YET: Final = "not available in this version yet"
_OFF: Final = ("false", "0")
_ON: Final = ("true", "1")

#: Authentication and access: with ``per_listener_settings true`` these belong to the listener above them.
SECURITY: Final = frozenset(
    ("allow_anonymous", "password_file", "acl_file", "psk_file", "plugin", "auth_plugin", "allow_zero_length_clientid")
)

#: Directives that name a file or directory, whose relative paths start from where Mosquitto was started.
PATHS: Final = frozenset(
    (
        "acl_file",
        "bridge_cafile",
        "bridge_capath",
        "bridge_certfile",
        "bridge_keyfile",
        "cafile",
        "capath",
        "certfile",
        "crlfile",
        "keyfile",
        "password_file",
        "persistence_location",
        "pid_file",
        "psk_file",
    )
)

#: Where our default is another: the directive, what Mosquitto does without it, and our key.
OTHER_DEFAULTS: Final[tuple[tuple[str, str, KeyPath], ...]] = (
    ("max_inflight_messages", "20", ("limits", "max_inflight_messages")),
    ("max_queued_messages", "1000", ("limits", "max_queued_messages")),
    ("max_queued_bytes", "no limit", ("limits", "max_queued_bytes")),
    ("max_topic_alias", "10", ("limits", "topic_alias_maximum")),
    ("max_topic_alias_broker", "10", ("limits", "topic_alias_maximum_outgoing")),
)

_OUTSIDE_BRIDGES: Final[Mapping[str, Directive]] = {
    # General
    "acl_file": Special(),
    "allow_anonymous": Special(Reading.FLAG),
    "allow_duplicate_messages": Needless("a client gets a message once, however many of its filters match"),
    "allow_zero_length_clientid": Special(Reading.FLAG),
    "auto_id_prefix": Mapped(("client_ids", "assigned_prefix")),
    "autosave_interval": Needless("there is no snapshot to write at intervals", Reading.NUMBER),
    "autosave_on_changes": Needless("there is no snapshot to write at intervals", Reading.FLAG),
    "check_retain_source": Ignored("rights are checked whenever a message is delivered", _ON, Reading.FLAG),
    "clientid_prefixes": Special(),
    "connection_messages": Special(Reading.FLAG),
    "enable_control_api": Ignored(f"the topics below $CONTROL are {_NOT_YET}", _OFF, Reading.FLAG),
    "global_max_clients": Special(Reading.NUMBER),
    "global_max_connections": Refused(f"a limit on all connections is {_NOT_YET}", ("-1",), Reading.NUMBER),
    "include_dir": Special(),
    "log_dest": Special(),
    "log_facility": Special(),
    "log_timestamp": Mapped(("logging", "timestamps"), Reading.FLAG),
    "log_timestamp_format": Mapped(("logging", "timestamp_format"), Reading.WHOLE),
    "log_type": Special(),
    "max_inflight_bytes": Ignored(
        "not counted in bytes; max_inflight_messages counts messages", ("0",), Reading.NUMBER
    ),
    "max_inflight_messages": Mapped(("limits", "max_inflight_messages"), Reading.NUMBER, {"0": 65_535}),
    "max_keepalive": Mapped(("keep_alive_maximum",), Reading.NUMBER),
    "max_packet_size": Mapped(("limits", "max_packet_size"), Reading.NUMBER),
    "max_queued_bytes": Special(Reading.NUMBER),
    "max_queued_messages": Special(Reading.NUMBER),
    "memory_limit": Refused(f"a limit on all memory is {_NOT_YET}; remove the line", ("0",), Reading.NUMBER),
    "message_size_limit": Refused(
        "payloads alone are not limited; use max_packet_size, which is for the whole packet and ends the connection",
        ("0",),
        Reading.NUMBER,
    ),
    "packet_buffer_size": Needless("buffers grow as they are needed", Reading.NUMBER),
    "websockets_headers_size": Needless("buffers grow as they are needed", Reading.NUMBER),
    "password_file": Special(),
    "per_listener_settings": Special(Reading.FLAG),
    "persistence": Special(Reading.FLAG),
    "persistence_file": Needless("the store has a file of its own; noctule store import takes over Mosquitto's"),
    "persistence_location": Mapped(("data_directory",)),
    "persistent_client_expiration": Special(),
    "pid_file": Mapped(("pid_file",)),
    "plugin": Special(),
    "global_plugin": Special(),
    "auth_plugin": Special(),
    "plugin_load": Special(),
    "plugin_use": Special(),
    "auth_plugin_deny_special_chars": Ignored(
        "identifiers with + or # are always kept out of patterns", _ON, Reading.FLAG
    ),
    "psk_file": Special(),
    "queue_qos0_messages": Ignored(f"queueing QoS 0 for clients that are away is {_NOT_YET}", _OFF, Reading.FLAG),
    "retain_available": Refused(f"turning retained messages off is {_NOT_YET}", _ON, Reading.FLAG),
    "retain_expiry_interval": Needless("retained messages go when they expire", Reading.NUMBER),
    "set_tcp_nodelay": Needless("messages are sent at once, many in one packet where they come together", Reading.FLAG),
    "sys_interval": Mapped(("sys_interval",), Reading.NUMBER),
    "upgrade_outgoing_qos": Refused(
        f"raising the QoS of messages is {_NOT_YET}; MQTT says the lower of the two", _OFF, Reading.FLAG
    ),
    "user": Special(),
    "websockets_log_level": Needless("there is one log, with one level", Reading.NUMBER),
    "retained_persistence": Needless("Mosquitto does not use it any more", Reading.FLAG),
    "retry_interval": Needless("Mosquitto does not use it any more", Reading.NUMBER),
    # Listeners
    "listener": Special(),
    "port": Special(Reading.NUMBER),
    "bind_address": Special(),
    "accept_protocol_versions": Special(Reading.WHOLE),
    "bind_interface": OfListener(("tcp", "interface")),
    "socket_domain": Special(),
    "enable_proxy_protocol": Special(Reading.NUMBER),
    "proxy_protocol_v2_require_tls": Special(Reading.FLAG),
    "protocol": Special(),
    "http_dir": Refused(f"serving files is {_NOT_YET}", of_listener=True),
    "listener_allow_anonymous": OfListener(("allow_anonymous",), Reading.FLAG),
    "listener_auto_id_prefix": Ignored("the same for all listeners here (auto_id_prefix)", ("auto-",)),
    "max_connections": Special(Reading.NUMBER),
    "max_qos": Special(Reading.NUMBER),
    "maximum_qos": Special(Reading.NUMBER),
    "max_topic_alias": Ignored(
        "the same for all listeners here; its default is 32 and harmless (limits.topic_alias_maximum)",
        ("10",),
        Reading.NUMBER,
    ),
    "max_topic_alias_broker": Ignored(
        "the same for all listeners here; its default is 32 and harmless (limits.topic_alias_maximum_outgoing)",
        ("10",),
        Reading.NUMBER,
    ),
    "mount_point": OfListener(("mount_point",)),
    "use_username_as_clientid": Refused(
        f"the user name in place of the identifier is {_NOT_YET}", _OFF, Reading.FLAG, of_listener=True
    ),
    "websockets_origin": Special(),
    # TLS of listeners
    "cafile": OfListener(("tls", "ca_file")),
    "capath": OfListener(("tls", "ca_directory")),
    "certfile": OfListener(("tls", "certificate_file")),
    "keyfile": OfListener(("tls", "key_file")),
    "ciphers": OfListener(("tls", "ciphers")),
    "ciphers_tls1.3": OfListener(("tls", "ciphers_tls13")),
    "crlfile": OfListener(("tls", "crl_file")),
    "dhparamfile": Needless("key exchange needs no such file any more"),
    "disable_client_cert_date_checks": Refused(
        "certificates that have expired are not believed", _OFF, Reading.FLAG, of_listener=True
    ),
    "require_certificate": OfListener(("tls", "require_certificate"), Reading.FLAG),
    "tls_engine": Refused("engines of OpenSSL are not used; keep the key in a file", of_listener=True),
    "tls_engine_kpass_sha1": Refused("engines of OpenSSL are not used; keep the key in a file", of_listener=True),
    "tls_keyform": Refused("engines of OpenSSL are not used; keep the key in a file", ("pem",), of_listener=True),
    "tls_version": Special(),
    "use_identity_as_username": Special(Reading.FLAG),
    "use_subject_as_username": Special(Reading.FLAG),
    "psk_hint": OfListener(("tls", "psk_hint")),
    "connection": Special(),
}

_TEXTS_OF_BRIDGES: Final = (
    "address",
    "addresses",
    "bridge_alpn",
    "bridge_bind_address",
    "bridge_cafile",
    "bridge_capath",
    "bridge_certfile",
    "bridge_ciphers",
    "bridge_ciphers_tls1.3",
    "bridge_identity",
    "bridge_keyfile",
    "bridge_protocol_version",
    "bridge_psk",
    "bridge_reload_type",
    "bridge_tcp_keepalive",
    "bridge_tls_version",
    "clientid",
    "local_clientid",
    "local_username",
    "notification_topic",
    "remote_clientid",
    "remote_username",
    "restart_timeout",
    "start_type",
    "username",
)
_FLAGS_OF_BRIDGES: Final = (
    "bridge_attempt_unsubscribe",
    "bridge_insecure",
    "bridge_outgoing_retain",
    "bridge_require_ocsp",
    "bridge_tls_use_os_certs",
    "cleansession",
    "local_cleansession",
    "notifications",
    "notifications_local_only",
    "round_robin",
    "try_private",
)
_NUMBERS_OF_BRIDGES: Final = (
    "bridge_max_packet_size",
    "bridge_max_topic_alias",
    "bridge_receive_maximum",
    "bridge_session_expiry_interval",
    "bridge_tcp_user_timeout",
    "idle_timeout",
    "keepalive_interval",
    "threshold",
)

#: A topic may be ``#``, and a password have blanks.
_WHOLE_OF_BRIDGES: Final = ("local_password", "password", "remote_password", "topic")

DIRECTIVES: Final[Mapping[str, Directive]] = {
    **_OUTSIDE_BRIDGES,
    **dict.fromkeys(_TEXTS_OF_BRIDGES, OfBridge()),
    **dict.fromkeys(_FLAGS_OF_BRIDGES, OfBridge(Reading.FLAG)),
    **dict.fromkeys(_NUMBERS_OF_BRIDGES, OfBridge(Reading.NUMBER)),
    **dict.fromkeys(_WHOLE_OF_BRIDGES, OfBridge(Reading.WHOLE)),
}
