"""The options themselves that ``noctule pub``, ``sub``, ``rr``, ``ping``, ``top`` and ``bench`` have in common."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from noctule.cli.connection_options import (
    PLAIN_PORT,
    TLS_PORT,
    ConnectionOptions,
    check_name,
    check_text,
)
from noctule.cli.option_reading import Option, c_integer, flag, strict_integer, valued
from noctule.cli.outcome import UsageError
from noctule.cli.property_option import words_needed
from noctule.client import TLS_VERSIONS, parse_proxy
from noctule.protocol import SESSION_NEVER_EXPIRES, ProtocolVersion

_VERSIONS: Final = {
    "31": ProtocolVersion.V3_1,
    "mqttv31": ProtocolVersion.V3_1,
    "311": ProtocolVersion.V3_1_1,
    "mqttv311": ProtocolVersion.V3_1_1,
    "5": ProtocolVersion.V5,
    "mqttv5": ProtocolVersion.V5,
}

# Below 5 seconds a keep alive ends sound connections over slow networks; Mosquitto's clients refuse it as well.
_KEEP_ALIVE_MINIMUM_S: Final = 5
_KEEP_ALIVE_MAXIMUM_S: Final = 65_535
_PORT_MAXIMUM: Final = 65_535

_URL_SCHEMES: Final = {
    "mqtt": (PLAIN_PORT, False, False),
    "mqtts": (TLS_PORT, True, False),
    "ws": (PLAIN_PORT, False, True),
    "wss": (TLS_PORT, True, True),
}


def _set_port(options: ConnectionOptions, text: str) -> None:
    port = c_integer(text)
    if not 1 <= port <= _PORT_MAXIMUM:
        raise UsageError(f"Invalid port given: {text}")
    options.port = port


def set_qos(options: ConnectionOptions, text: str) -> None:
    """``-q``; what it is for, each tool says itself."""
    options.qos = _qos(text, f"Invalid QoS given: {text}")


def _set_will_qos(options: ConnectionOptions, text: str) -> None:
    options.will_qos = _qos(text, f"Invalid will QoS {text}.")


def _qos(text: str, complaint: str) -> int:
    # Not as Mosquitto's tools, for which every word is a number: "-q high" would publish at QoS 0.
    if text not in ("0", "1", "2"):
        raise UsageError(complaint)
    return int(text)


def _set_keep_alive(options: ConnectionOptions, text: str) -> None:
    keep_alive_s = c_integer(text)
    if not _KEEP_ALIVE_MINIMUM_S <= keep_alive_s <= _KEEP_ALIVE_MAXIMUM_S:
        raise UsageError(
            "Invalid keepalive given, it must be between "
            f"{_KEEP_ALIVE_MINIMUM_S} and {_KEEP_ALIVE_MAXIMUM_S} inclusive."
        )
    options.keep_alive_s = keep_alive_s


def _set_version(options: ConnectionOptions, text: str) -> None:
    version = _VERSIONS.get(text)
    if version is None:
        raise UsageError("Invalid protocol version argument given.")
    options.version = version


def _set_client_id(options: ConnectionOptions, text: str) -> None:
    if options.client_id_prefix is not None:
        raise UsageError("-i and -I argument cannot be used together.")
    options.client_id = text


def _set_client_id_prefix(options: ConnectionOptions, text: str) -> None:
    if options.client_id is not None:
        raise UsageError("-i and -I argument cannot be used together.")
    options.client_id_prefix = text


def _set_session_expiry(options: ConnectionOptions, text: str) -> None:
    interval_s = SESSION_NEVER_EXPIRES if text == "∞" else strict_integer(text)
    if interval_s is None:
        raise UsageError("session-expiry-interval not a number.")
    if not -1 <= interval_s <= SESSION_NEVER_EXPIRES:
        raise UsageError("session-expiry-interval out of range.")
    options.session_expiry_interval_s = SESSION_NEVER_EXPIRES if interval_s == -1 else interval_s
    options.version = ProtocolVersion.V5


def _set_url(options: ConnectionOptions, url: str) -> None:
    scheme, separator, rest = url.partition("://")
    known = _URL_SCHEMES.get(scheme.lower()) if separator else None
    if known is None:
        raise UsageError("Unsupported URL scheme.")
    place, slash, topic = rest.partition("/")
    if not slash and options.needs_topic:
        raise UsageError("Invalid URL for -L argument specified - topic missing.")
    if topic or options.needs_topic:
        options.add_topic(topic, "-L topic")
    options.port, options.use_system_authorities, options.is_websocket = known
    options.unix_path = None
    credentials, at, host = place.rpartition("@")
    if at:
        options.user_name, colon, password = credentials.partition(":")
        options.password = os.fsencode(password) if colon else None
    if host.startswith("["):
        name, _, port_text = host[1:].partition("]")
        port_text = port_text.removeprefix(":")
    else:
        name, _, port_text = host.partition(":")
    options.host = name
    if port_text:
        _set_port(options, port_text)


def _set_unix(options: ConnectionOptions, path: str) -> None:
    options.unix_path = path


def _set_host(options: ConnectionOptions, host: str) -> None:
    options.host = host
    options.unix_path = None


def _set_password(options: ConnectionOptions, text: str) -> None:
    options.password = os.fsencode(text)


def _set_proxy(options: ConnectionOptions, url: str) -> None:
    try:
        options.proxy = parse_proxy(url)
    except ValueError as error:
        raise UsageError(f"Unsupported proxy: {error}.") from None


def _set_will_topic(options: ConnectionOptions, topic: str) -> None:
    check_text(topic, "--will-topic")
    check_name(topic, "will")
    options.will_topic = topic


def _set_will_payload(options: ConnectionOptions, text: str) -> None:
    options.will_payload = os.fsencode(text)


def _set_tls_version(options: ConnectionOptions, text: str) -> None:
    if text not in TLS_VERSIONS:
        raise UsageError(f"TLS version {text} is not supported; choose one of {', '.join(TLS_VERSIONS)}.")
    options.tls_version = text


def _set_key_form(options: ConnectionOptions, text: str) -> None:
    if text != "pem":
        raise UsageError("Problem setting key form: Python can read keys from PEM files alone, not from an engine.")
    options.key_form = text


def _set_psk(options: ConnectionOptions, text: str) -> None:
    try:
        bytes.fromhex(text)
    except ValueError:
        raise UsageError("The key of --psk must be in hexadecimal, without 0x in front.") from None
    options.psk = text


def _refuse_engine(_options: ConnectionOptions, _text: str) -> None:
    raise UsageError("OpenSSL engines are not supported: Python does not load them.")


def _check_inflight(_options: ConnectionOptions, text: str) -> None:
    if c_integer(text) < 1:
        raise UsageError("Maximum inflight messages must be greater than 0.")


def _add_property(options: ConnectionOptions, words: Sequence[str]) -> None:
    options.properties.add(words)
    options.version = ProtocolVersion.V5


def _set(name: str) -> "_Setter":
    return _Setter(name)


@dataclass(frozen=True, slots=True)
class _Setter:
    """Puts a text, or True, into a field."""

    name: str

    def __call__(self, options: ConnectionOptions, text: str | None = None) -> None:
        setattr(options, self.name, True if text is None else text)


def _disable_clean_session(options: ConnectionOptions) -> None:
    options.clean_start = False


def _ignore(_options: ConnectionOptions, _text: str | None = None) -> None:
    """Nothing to do: it is so in any case, or done elsewhere."""


CONNECTION_OPTIONS: Final[Sequence[Option[ConnectionOptions]]] = (
    valued("-h --host", "host", "host to connect to (localhost)", _set_host),
    valued("-p --port", "port", "port to connect to (1883; 8883 with TLS)", _set_port),
    valued("-L --url", "url", "mqtt(s)|ws(s)://[user[:password]@]host[:port]/topic, all in one", _set_url, "URL"),
    valued("--unix", "path", "connect to a unix socket in place of a host", _set_unix, "socket path"),
    flag("--ws", "speak WebSocket", _set("is_websocket")),
    valued("-A", "address", "connect from this address of this machine", _set("local_address")),
    valued("--proxy", "url", "through socks5h://[user[:password]@]host[:port]", _set_proxy, "proxy url"),
    flag("-S", "look up the server of the domain -h (DNS SRV records)", _set("is_by_service_record")),
    flag("--nodelay", "send at once, without Nagle's algorithm; that is so in any case", _ignore),
    valued("-i --id", "id", "client identifier (the server chooses)", _set_client_id),
    valued(
        "-I --id-prefix", "prefix", "client identifier: this and the process id", _set_client_id_prefix, "id prefix"
    ),
    valued("-u --username", "name", "user name", _set("user_name"), "username"),
    valued("-P --pw", "password", "password", _set_password),
    valued("-V --protocol-version", "version", "31, 311 or 5, also with mqttv in front (311; rr: 5)", _set_version),
    valued("-k --keepalive", "seconds", "keep alive (60)", _set_keep_alive, "keepalive"),
    flag("-c --disable-clean-session", "resume the session and keep it; needs -i", _disable_clean_session),
    valued(
        "-x",
        "seconds",
        "how long the session outlives the connection; -1 or ∞: for good",
        _set_session_expiry,
        "session expiry interval",
    ),
    Option(
        ("-D", "--property"),
        "a property of MQTT 5: publish content-type text, connect user-property name value",
        _add_property,
        ("command", "property", "value"),
        "arguments",
        words_needed,
    ),
    valued("-M", "count", "accepted; one message at a time is in flight", _check_inflight, "max_inflight"),
    valued("-o", "file", "read options from this file, not from the defaults files", _ignore, "options file"),
    flag("-d --debug", "print every packet that is sent and received", _set("is_debug")),
    flag("--quiet", "print no errors of the connection", _set("is_quiet")),
)

WILL_OPTIONS: Final[Sequence[Option[ConnectionOptions]]] = (
    valued(
        "--will-topic", "topic", "have the server publish a message there if we vanish", _set_will_topic, "will topic"
    ),
    valued("--will-payload", "text", "its payload (none)", _set_will_payload, "will payload"),
    valued("--will-qos", "qos", "its QoS (0)", _set_will_qos, "will QoS"),
    flag("--will-retain", "keep it for the topic", _set("will_retain")),
)

TLS_OPTIONS: Final[Sequence[Option[ConnectionOptions]]] = (
    valued("--cafile", "file", "trust the authorities in this file (PEM), and speak TLS", _set("ca_file")),
    valued("--capath", "folder", "trust the authorities in this folder", _set("ca_path"), "directory"),
    flag("--tls-use-os-certs", "trust the system's authorities, and speak TLS", _set("use_system_authorities")),
    valued("--cert", "file", "our certificate (PEM)", _set("certificate_file")),
    valued("--key", "file", "its key (PEM)", _set("key_file")),
    valued("--keyform", "form", "pem", _set_key_form),
    valued("--ciphers", "list", "ciphers of TLS 1.2, as OpenSSL writes them", _set("ciphers"), "ciphers"),
    valued("--tls-version", "version", "tlsv1.2 or tlsv1.3 alone", _set_tls_version),
    valued("--tls-alpn", "protocol", "ask for this protocol (ALPN)", _set("alpn")),
    valued("--tls-keylog", "file", "append the session's keys to this file, for Wireshark", _set("keylog_file")),
    valued("--tls-engine", "engine", "not supported", _refuse_engine, "engine_id"),
    valued("--tls-engine-kpass-sha1", "hash", "not supported", _refuse_engine, "kpass sha1"),
    flag("--insecure", "do not check that the certificate is the host's", _set("insecure")),
    flag("--no-tls", "no TLS, whatever the port", _set("no_tls")),
    valued("--psk", "key", "pre-shared key in hexadecimal, in place of certificates (Python 3.13)", _set_psk),
    valued("--psk-identity", "name", "who we are to the server, with --psk", _set("psk_identity"), "identity"),
)
