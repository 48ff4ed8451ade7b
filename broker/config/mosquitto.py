"""Reads a mosquitto.conf into a document: what it says, in our own keys, each with the line that said it.

Checking is left to the same code that checks a TOML file: a number out of range is told under its directive's name.
One file, though long: what a line means depends on the lines before it, and this is where that is remembered.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from noctule.config.documents import Document
from noctule.config.mosquitto_bridges import MosquittoBridges
from noctule.config.mosquitto_directives import (
    DIRECTIVES,
    PATHS,
    SECURITY,
    Directive,
    Ignored,
    Mapped,
    Needless,
    OfBridge,
    OfListener,
    Reading,
    Refused,
    Special,
)
from noctule.config.problems import KeyPath, Place, did_you_mean
from noctule.config.settings import EVERY_ADDRESS

_COMMENT: Final = re.compile(r"\s#.*")
_NUMBER: Final = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_EXPIRATION: Final = re.compile(r"([0-9]{1,9})\s?([shdwmy])", re.ASCII)
_PLUGIN_OPTION: Final = re.compile(r"(?:plugin|auth)_opt_(.+)")
_NOT_YET: Final = "not available in this version yet"

#: Of persistent_client_expiration: months and years are as long as Mosquitto takes them to be.
_EXPIRATION_UNITS_S: Final = {
    "s": 1,
    "h": 3_600,
    "d": 86_400,
    "w": 604_800,
    "m": 2_592_000,
    "y": 31_536_000,
}

#: From what on something is logged, by the least of the types that are named.
_LEVELS: Final = {
    "debug": "debug",
    "all": "debug",
    "information": "info",
    "notice": "info",
    "warning": "warning",
    "error": "error",
    "none": "none",
}
_LEVEL_ORDER: Final = ("debug", "info", "warning", "error", "none")
_LOG_TYPES_WITHOUT_LEVEL: Final = ("subscribe", "unsubscribe", "websockets", "internal")
_TLS_VERSIONS: Final = {"tlsv1.3": "1.3", "tlsv1.2": "1.2", "tlsv1.1": "1.2", "tlsv1": "1.2", "tlsv1.0": "1.2"}


@dataclass(frozen=True, slots=True)
class _Line:
    """One directive."""

    name: str
    text: str
    place: Place


@dataclass(slots=True)
class _Security:
    """Who may connect, as said for one listener or for all."""

    allow_anonymous: tuple[bool, Place] | None = None

    psk_file: tuple[str, Place] | None = None

    #: Files by the plugin that reads them here.
    files: dict[str, tuple[str, Place]] = field(default_factory=dict)


@dataclass(slots=True)
class _Listener:
    """One listener, or the default one that stands before the first."""

    place: Place
    values: dict[KeyPath, tuple[object, Place]] = field(default_factory=dict)
    security: _Security = field(default_factory=_Security)
    socket_domain: _Line | None = None

    #: ``use_identity_as_username``: whose identity depends on the rest of the listener.
    identity: _Line | None = None

    def say(self, path: KeyPath, value: object, place: Place) -> None:
        self.values[path] = (value, place)


@dataclass(slots=True)
class _SharedObject:
    """A plugin of Mosquitto's, with its options."""

    line: _Line
    path: str
    options: list[tuple[str, _Line]]
    security: _Security


def read_mosquitto(path: Path, document: Document) -> None:
    """Read a mosquitto.conf, and what its ``include_dir`` names, into the document."""
    _Reader(document).read(path)


class _Reader:
    """Goes through the lines in order, remembering which listener, bridge or plugin they belong to."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._folder = Path.cwd()  # Mosquitto takes relative paths from where it was started
        self._main: Path | None = None
        self._is_per_listener = False
        self._default: _Listener | None = None
        self._listeners: list[_Listener] = []
        self._current: _Listener | None = None
        self._security = _Security()
        self._in_bridge = False
        self._bridges = MosquittoBridges(document)
        self._plugins: list[_SharedObject] = []
        self._log_types: list[_Line] = []
        self._log_destinations: list[tuple[str, Place]] | None = None
        self._said: dict[str, Place] = {}

    def read(self, path: Path) -> None:
        """Read the main file, and say what all of it comes to."""
        self._main = path
        self._read_file(path, None)
        if not self._document.sources:
            return
        self._finish_plugins()
        self._finish_log()
        self._finish_listeners()
        self._bridges.finish()

    def _read_file(self, path: Path, asked_at: Place | None) -> None:
        # Bytes that are not UTF-8 are common in comments, which nobody reads here.
        text = self._document.read_text(path, asked_at, errors="surrogateescape")
        if text is None:
            return
        for number, raw in enumerate(text.split("\n"), 1):
            stripped = raw.strip()
            if not stripped or stripped.startswith("#"):
                continue
            name, *rest = stripped.split(None, 1)
            place = Place(str(path), number, name, self._folder)
            self._directive(_Line(name, rest[0] if rest else "", place))

    # One line

    def _directive(self, line: _Line) -> None:
        directive = DIRECTIVES.get(line.name)
        option = _PLUGIN_OPTION.fullmatch(line.name)
        if (directive is None and option is None) or line.text.split(" ")[0] == "=":
            self._unknown(line)
            return
        whole = option is not None or (directive is not None and directive.reading is Reading.WHOLE)
        text = line.text if whole else _COMMENT.sub("", line.text).strip()
        if text.startswith("#") and not whole:
            text = ""
        if text != line.text:
            self._document.note(
                line.place,
                line.name,
                "what follows # is taken as a comment, as Mosquitto does at the start of a line only",
            )
            line = _Line(line.name, text, line.place)
        try:
            line.text.encode()
        except UnicodeEncodeError:
            self._wrong(line, "is not UTF-8 text")
            return
        if not text:
            self._wrong(line, f"expected a value: {line.name} VALUE")
        elif option is not None:
            self._plugin_option(option[1], line)
        elif directive is not None:
            if line.name in PATHS and not line.text.startswith("/"):
                self._document.note(
                    line.place,
                    line.name,
                    "a relative path is taken from the TOML file's directory, by Mosquitto from where it started",
                )
            self._obey(directive, line)
            self._said[line.name] = line.place

    def _unknown(self, line: _Line) -> None:
        if "=" in line.name or line.text.startswith("="):
            name = line.name.partition("=")[0]
            self._wrong(line, f"mosquitto.conf has no equals signs: {name} VALUE")
            return
        lower = line.name.lower()
        if lower in DIRECTIVES:
            self._wrong(line, f'unknown directive; did you mean "{lower}"?')
            return
        self._wrong(line, f"unknown directive{did_you_mean(line.name, DIRECTIVES)}")

    def _obey(self, directive: Directive, line: _Line) -> None:
        value = self._value(directive.reading, line)
        if value is None:
            return
        match directive:
            case OfListener():
                self._scope(line).say(directive.path, value, line.place)
            case Mapped():
                if directive.words is not None:
                    value = directive.words.get(line.text, value)
                self._document.set(directive.path, value, line.place)
            case Refused():
                if line.text.lower() not in directive.harmless:
                    self._wrong(line, directive.why)
            case Ignored():
                if line.text.lower() not in directive.harmless:
                    self._document.warn(line.place, line.name, f"ignored: {directive.why}")
            case Needless():
                self._document.note(line.place, line.name, f"has no effect: {directive.why}")
            case OfBridge():
                if not self._in_bridge:
                    self._wrong(line, 'belongs below a "connection NAME" line')
                else:
                    self._bridges.take(line.name, line.text, value, line.place)
            case Special():
                getattr(self, f"_{line.name}")(line, value)

    def _value(self, reading: Reading, line: _Line) -> Any:
        """The value as it is read; None, and a problem, where it does not fit."""
        if reading is Reading.FLAG:
            flag = {"true": True, "1": True, "false": False, "0": False}.get(line.text.lower())
            if flag is None:
                self._wrong(line, f'expected true or false; got "{line.text}"')
            return flag
        if reading is Reading.NUMBER:
            if _NUMBER.fullmatch(line.text):
                return int(line.text)
            self._wrong(line, f'expected a whole number; got "{line.text}"')
            return None
        return line.text

    def _wrong(self, line: _Line, text: str) -> None:
        self._document.problem(line.place, line.name, text)

    def _scope(self, line: _Line) -> _Listener:
        """The listener that the line belongs to."""
        if self._current is not None:
            return self._current
        if self._default is None:
            self._default = _Listener(line.place)
        return self._default

    def _security_of(self, line: _Line) -> _Security:
        return self._scope(line).security if self._is_per_listener else self._security

    # Files

    def _include_dir(self, line: _Line, value: str) -> None:
        if line.place.source != str(self._main):
            self._document.warn(line.place, line.name, "ignored: only the main file may include others")
            return
        # As Mosquitto: each file begins before any listener, and the main file goes on where it was.
        current, in_bridge = self._current, self._in_bridge
        for file in self._document.files_of(Path(value), ".conf", line.place, line.name):
            self._current, self._in_bridge = None, False
            self._read_file(file, line.place)
        self._current, self._in_bridge = current, in_bridge

    # Listeners

    def _listener(self, line: _Line, value: str) -> None:
        port_text, *rest = value.split(None, 1)
        self._in_bridge = False
        self._current = listener = _Listener(
            Place(line.place.source, line.place.line, f"listener {port_text}", self._folder)
        )
        self._listeners.append(listener)
        if not port_text.isdecimal() or int(port_text) > 65_535:
            self._wrong(line, f'expected a port from 0 to 65535; got "{port_text}"')
            return
        where = rest[0].strip() if rest else ""
        if where.startswith("/"):
            if int(port_text) != 0:
                self._wrong(line, "a unix socket has port 0: listener 0 " + where)
            listener.say(("path",), where, line.place)
            return
        if int(port_text) == 0:
            self._wrong(line, "port 0 is for unix sockets: listener 0 /PATH")
        if len(where.split()) > 1:
            self._wrong(line, f'expected listener PORT [ADDRESS]; got "{where}"')
            return
        listener.say(("port",), int(port_text), line.place)
        listener.say(("address",), where or EVERY_ADDRESS, line.place)

    def _port(self, line: _Line, value: int) -> None:
        self._default_listener(line).say(("port",), value, line.place)

    def _bind_address(self, line: _Line, value: str) -> None:
        self._default_listener(line).say(("address",), value, line.place)

    def _default_listener(self, line: _Line) -> _Listener:
        if self._default is None:
            self._default = _Listener(line.place)
        return self._default

    def _accept_protocol_versions(self, line: _Line, value: str) -> None:
        versions = set(_COMMENT.sub("", value).replace(",", " ").split())
        if not versions <= {"3", "4", "5"}:
            self._wrong(line, f'expected some of 3, 4, 5; got "{value}"')
        elif versions != {"3", "4", "5"}:
            self._wrong(line, f"refusing versions of MQTT is {_NOT_YET}")

    def _socket_domain(self, line: _Line, value: str) -> None:
        if value not in ("ipv4", "ipv6", "unix"):
            self._wrong(line, f'expected ipv4, ipv6 or unix; got "{value}"')
        else:
            self._scope(line).socket_domain = line

    def _protocol(self, line: _Line, value: str) -> None:
        protocols = {"mqtt": "mqtt", "websockets": "websocket", "http_api": "http_api"}
        if value == "mqttsn":
            self._wrong(line, "MQTT-SN is configured in a TOML file, as [[mqtt_sn]]; remove the listener")
        elif value not in protocols:
            hint = did_you_mean(value, protocols)
            self._wrong(line, f'expected mqtt, websockets or http_api; got "{value}"{hint}')
        else:
            self._scope(line).say(("protocol",), protocols[value], line.place)

    def _max_connections(self, line: _Line, value: int) -> None:
        if value != -1:
            self._scope(line).say(("limits", "max_connections"), value, line.place)

    def _global_max_clients(self, line: _Line, value: int) -> None:
        if value != -1:
            self._document.set(("limits", "max_sessions"), value, line.place)

    def _persistent_client_expiration(self, line: _Line, value: str) -> None:
        match = _EXPIRATION.fullmatch(value)
        if match is None:
            self._wrong(line, f'expected a number with h, d, w, m or y, such as 2m for two months; got "{value}"')
        elif expiry_s := int(match[1]) * _EXPIRATION_UNITS_S[match[2]]:
            self._document.set(("limits", "max_session_expiry"), expiry_s, line.place)

    def _max_qos(self, line: _Line, value: int) -> None:
        if value != 2:
            self._scope(line).say(("limits", "max_qos"), value, line.place)

    _maximum_qos = _max_qos

    def _websockets_origin(self, line: _Line, value: str) -> None:
        scope = self._scope(line)
        origins, _ = scope.values.get(("websocket", "origins"), ([], line.place))
        assert isinstance(origins, list)  # noqa: S101
        scope.say(("websocket", "origins"), [*origins, value], line.place)

    def _enable_proxy_protocol(self, line: _Line, value: int) -> None:
        scope = self._scope(line)
        scope.say(("proxy", "protocol_version"), value, line.place)
        # Mosquitto believes whoever connects.
        scope.say(("proxy", "trusted"), ["0.0.0.0/0", "::/0"], line.place)
        self._document.warn(
            line.place,
            line.name,
            "who can reach this listener can say that it is anybody: name the proxies in listeners.proxy.trusted "
            "(noctule convert makes the TOML file)",
        )

    def _proxy_protocol_v2_require_tls(self, line: _Line, value: bool) -> None:
        if value:
            self._scope(line).say(("proxy", "require_tls"), True, line.place)

    def _tls_version(self, line: _Line, value: str) -> None:
        version = _TLS_VERSIONS.get(value.lower())
        if version is None:
            self._wrong(line, f'expected tlsv1.2 or tlsv1.3; got "{value}"')
            return
        if value.lower() not in ("tlsv1.2", "tlsv1.3"):
            self._document.warn(line.place, line.name, "TLS below 1.2 is not safe and not spoken: 1.2 is the least")
        self._scope(line).say(("tls", "minimum_version"), version, line.place)

    def _use_identity_as_username(self, line: _Line, value: bool) -> None:
        if value:
            self._scope(line).identity = line

    def _use_subject_as_username(self, line: _Line, value: bool) -> None:
        if value:
            self._scope(line).say(("tls", "user_name_from"), "subject", line.place)

    # Who may connect

    def _per_listener_settings(self, line: _Line, value: bool) -> None:
        early = [name for name in SECURITY if name in self._said]
        if value and early:
            self._wrong(line, f'must stand before "{sorted(early)[0]}", which it changes the meaning of')
        self._is_per_listener = value

    def _allow_anonymous(self, line: _Line, value: bool) -> None:
        self._security_of(line).allow_anonymous = (value, line.place)

    def _password_file(self, line: _Line, value: str) -> None:
        self._security_of(line).files["password_file"] = (value, line.place)

    def _acl_file(self, line: _Line, value: str) -> None:
        self._security_of(line).files["access_file"] = (value, line.place)

    def _allow_zero_length_clientid(self, line: _Line, value: bool) -> None:
        if value:
            return
        if self._is_per_listener:
            self._document.warn(line.place, line.name, "counts for all listeners here")
        self._document.set(("client_ids", "allow_empty"), False, line.place)

    def _clientid_prefixes(self, line: _Line, value: str) -> None:
        self._document.set(("client_ids", "prefixes"), [value], line.place)

    def _psk_file(self, line: _Line, value: str) -> None:
        self._security_of(line).psk_file = (value, line.place)

    def _plugin(self, line: _Line, value: str) -> None:
        self._plugins.append(_SharedObject(line, value, [], self._security_of(line)))

    _auth_plugin = _plugin

    def _global_plugin(self, line: _Line, value: str) -> None:
        self._plugins.append(_SharedObject(line, value, [], self._security))

    def _plugin_load(self, line: _Line, value: str) -> None:
        _, *path = value.split(None, 1)
        if path:
            self._plugins.append(_SharedObject(line, path[0], [], self._security))
        else:
            self._wrong(line, "expected plugin_load NAME PATH")

    def _plugin_use(self, line: _Line, value: str) -> None:
        self._document.note(line.place, line.name, f"has no effect: a plugin counts for all listeners ({value})")

    def _plugin_option(self, name: str, line: _Line) -> None:
        if self._plugins:
            self._plugins[-1].options.append((name, line))
        else:
            self._wrong(line, 'belongs below a "plugin PATH" line')

    def _finish_plugins(self) -> None:
        """What Mosquitto's own plugins do, ours do; others cannot be loaded here."""
        for plugin in self._plugins:
            file = plugin.path.replace("\\", "/").rpartition("/")[2]
            own = {"mosquitto_password_file": "password_file", "mosquitto_acl_file": "acl_file"}
            option = next((option for beginning, option in own.items() if file.startswith(beginning)), None)
            if option is not None:
                self._finish_file_plugin(plugin, option)
            elif file.startswith("mosquitto_persist_sqlite"):
                self._document.warn(
                    plugin.line.place,
                    plugin.line.name,
                    f"ignored: state is kept in memory; a store on disk is {_NOT_YET}",
                )
            elif file.startswith("mosquitto_dynamic_security"):
                self._wrong(plugin.line, f"dynamic security is {_NOT_YET}; use password_file and acl_file")
            elif "go-auth" in file or "auth-plug" in file:
                backends = next((line.text for name, line in plugin.options if name == "backends"), "")
                named = f" (its backends: {backends})" if backends else ""
                self._wrong(
                    plugin.line,
                    f"{file} is a shared object for Mosquitto and cannot be loaded here{named}; "
                    "say what it does by plugins of our own, in TOML",
                )
            else:
                self._wrong(
                    plugin.line, f"{file} is a shared object for Mosquitto and cannot be loaded here; remove it"
                )

    def _finish_file_plugin(self, plugin: _SharedObject, option: str) -> None:
        for name, line in plugin.options:
            if name == option:
                key = "access_file" if option == "acl_file" else option
                plugin.security.files[key] = (line.text, line.place)
                return
        self._wrong(plugin.line, f"expected plugin_opt_{option} PATH below it")

    # State, log, process

    def _persistence(self, line: _Line, value: bool) -> None:
        """What Mosquitto writes at intervals is on disk here before it is acknowledged."""
        self._document.set(("durability",), "disk" if value else "memory", line.place)

    def _max_queued_messages(self, line: _Line, value: int) -> None:
        if value == 0:
            value = 1_000_000
            self._document.warn(
                line.place, line.name, "0 was no limit; a million is taken, and max_queued_bytes counts too"
            )
        self._document.set(("limits", "max_queued_messages"), value, line.place)

    def _max_queued_bytes(self, line: _Line, value: int) -> None:
        if value == 0:
            self._document.note(line.place, line.name, "0 was no limit; the default here is 16 MiB for each client")
            return
        self._document.set(("limits", "max_queued_bytes"), value, line.place)

    def _connection_messages(self, line: _Line, value: bool) -> None:
        if value:
            self._document.note(
                line.place, line.name, "connections are logged at the level debug only (log_type debug)"
            )

    def _user(self, line: _Line, value: str) -> None:
        if value != "root":
            self._document.warn(
                line.place, line.name, f"ignored: start the broker as {value}, it does not change its user"
            )

    def _log_dest(self, line: _Line, value: str) -> None:
        kind, *rest = value.split(None, 1)
        if self._log_destinations is None:
            self._log_destinations = []
        if kind in ("stderr", "stdout", "syslog", "topic"):
            self._log_destinations.append((kind, line.place))
        elif kind == "file":
            if rest:
                self._log_destinations.append((rest[0], line.place))
            else:
                self._wrong(line, "expected log_dest file PATH")
        elif kind == "none":
            self._log_destinations.clear()
        elif kind in ("dlt", "android"):
            self._document.warn(line.place, line.name, f"ignored: logging to {kind} is {_NOT_YET}")
            if not self._log_destinations:
                self._log_destinations = None
        else:
            self._wrong(line, f'expected stderr, stdout, syslog, topic, file PATH or none; got "{kind}"')

    def _log_facility(self, line: _Line, value: str) -> None:
        facility = f"local{value}" if value in tuple("01234567") else value
        self._document.set(("logging", "syslog_facility"), facility, line.place)

    def _log_type(self, line: _Line, value: str) -> None:
        if value in _LEVELS:
            self._log_types.append(line)
        elif value in _LOG_TYPES_WITHOUT_LEVEL:
            self._document.note(line.place, line.name, f"has no effect: {value} is logged at the level debug")
        else:
            known = (*_LEVELS, *_LOG_TYPES_WITHOUT_LEVEL)
            self._wrong(line, f'"{value}" is no type of message{did_you_mean(value, known)}')

    def _finish_log(self) -> None:
        if self._log_types:
            least = min(self._log_types, key=lambda line: _LEVEL_ORDER.index(_LEVELS[line.text]))
            self._document.set(("logging", "level"), _LEVELS[least.text], least.place)
        if self._log_destinations is not None:
            places = [place for _, place in self._log_destinations]
            place = places[0] if places else self._said["log_dest"]
            texts = [text for text, _ in self._log_destinations]
            self._document.set(("logging", "destinations"), list(dict.fromkeys(texts)), place)

    # Bridges

    def _connection(self, line: _Line, value: str) -> None:
        self._in_bridge = True
        self._bridges.begin(value, line.place)

    # All in all

    def _finish_listeners(self) -> None:
        """Say the listeners, with the default one where Mosquitto would open it, and who may connect to each."""
        opened = list(self._listeners)
        default = self._default
        is_local_only = False
        if default is not None and {("port",), ("address",)} & default.values.keys():
            default.values.setdefault(("port",), (1883, default.place))
            default.values.setdefault(("address",), (EVERY_ADDRESS, default.place))
            opened.insert(0, default)
        elif not opened:
            is_local_only = True
            default = default or _Listener(Place(str(self._main), 0, "listener", self._folder))
            default.values[("port",)] = (1883, default.place)
            default.values[("address",)] = ("127.0.0.1", default.place)
            opened = [default]
        elif default is not None:
            # Mosquitto opens port 1883 for these, to everybody, beside the listeners that are named.
            for value, place in default.values.values():
                if value not in ("mqtt", False):
                    self._document.problem(
                        place, place.name or "", 'stands before every "listener": move it below the one that it is for'
                    )
        opened = [listener for listener in opened if not self._is_http(listener)]
        self._is_alone(opened, is_local_only)
        for listener in opened:
            self._say_listener(listener)
        self._say_security(opened, is_local_only)

    def _is_http(self, listener: _Listener) -> bool:
        """Whether it is Mosquitto's HTTP interface, which becomes our HTTP port; that is said then."""
        protocol, place = listener.values.get(("protocol",), ("", listener.place))
        if protocol != "http_api":
            return False
        self._document.set(("http", "enabled"), True, place)
        for key in ("port", "address"):
            if (key,) in listener.values:
                self._document.set(("http", key), *listener.values[(key,)])
        return True

    def _is_alone(self, opened: list[_Listener], is_local_only: bool) -> None:
        """Whoever says who may connect wants to be reached: warn where only this machine can."""
        securities = [self._security, *(listener.security for listener in opened)]
        if self._document.problems:
            return  # what does not fit may have been the listener
        if is_local_only and any(security.files or security.allow_anonymous for security in securities):
            self._document.warn(
                Place(str(self._main)),
                "",
                'there is no "listener": only this machine can connect. To let others in add: listener 1883',
            )

    def _say_listener(self, listener: _Listener) -> None:
        if listener.socket_domain is not None:
            line = listener.socket_domain
            address, _ = listener.values.get(("address",), ("", line.place))
            is_unix = ("path",) in listener.values
            if is_unix or line.text == "unix":
                if not is_unix:
                    self._wrong(line, "a unix socket is named by its path: listener 0 /PATH")
            elif address == EVERY_ADDRESS:
                listener.say(("address",), "0.0.0.0" if line.text == "ipv4" else "::", line.place)  # noqa: S104
            elif (":" in str(address)) != (line.text == "ipv6"):
                self._document.note(line.place, line.name, "has no effect: the address decides")
        self._say_identity(listener)
        index = self._document.append(("listeners",), {}, listener.place)
        for path, (value, place) in listener.values.items():
            self._document.set(("listeners", index, *path), value, place)

    def _say_identity(self, listener: _Listener) -> None:
        """Pre-shared keys, and whom ``use_identity_as_username`` takes for the user."""
        uses_psk = ("tls", "psk_hint") in listener.values
        psk_file = (listener.security if self._is_per_listener else self._security).psk_file
        if uses_psk and psk_file is not None:
            listener.say(("tls", "psk_file"), *psk_file)
        if listener.identity is None:
            return
        place = listener.identity.place
        if ("proxy", "protocol_version") in listener.values:
            listener.say(("proxy", "user_name_from_certificate"), True, place)
        else:
            listener.say(("tls", "user_name_from"), "psk_identity" if uses_psk else "common_name", place)

    def _say_security(self, opened: list[_Listener], is_local_only: bool) -> None:
        if not self._is_per_listener:
            said = self._security.allow_anonymous
            if said is not None:
                self._document.set(("allow_anonymous",), *said)
            elif is_local_only:
                # Mosquitto's default there, password file or not.
                self._document.set(("listeners", 0, "allow_anonymous"), True, opened[0].place)
            else:
                self._document.set(("allow_anonymous",), False, opened[0].place)
            for name, (file, place) in self._security.files.items():
                self._say_plugin(name, name, file, place)
            return
        for index, listener in enumerate(opened):
            if ("allow_anonymous",) in listener.values:
                continue
            said = listener.security.allow_anonymous or (is_local_only, listener.place)
            self._document.set(("listeners", index, "allow_anonymous"), *said)
        self._say_files_by_listener(opened)

    def _say_files_by_listener(self, opened: list[_Listener]) -> None:
        """The same files everywhere are simply the files; others are named by listener."""
        distinct = {tuple((name, file) for name, (file, _) in one.security.files.items()) for one in opened}
        if len(distinct) == 1:
            for name, (file, place) in opened[0].security.files.items():
                self._say_plugin(name, name, file, place)
            return
        for index, listener in enumerate(opened):
            names = []
            port, _ = listener.values.get(("port",), (0, listener.place))
            for plugin, (file, place) in listener.security.files.items():
                name = f"{plugin}_{port}"
                self._say_plugin(name, plugin, file, place)
                names.append(name)
            self._document.set(("listeners", index, "authentication"), names, listener.place)

    def _say_plugin(self, name: str, plugin: str, file: str, place: Place) -> None:
        self._document.set(("plugins", name), {}, place)
        if name != plugin:
            self._document.set(("plugins", name, "plugin"), plugin, place)
        self._document.set(("plugins", name, "path"), file, place)
        if plugin == "access_file":
            # What runs with Mosquitto may subscribe to more than it is allowed to receive.
            self._document.set(("plugins", name, "mosquitto_subscriptions"), True, place)
        else:
            self._document.secret_files.append((self._folder / file, place, place.name or name))
