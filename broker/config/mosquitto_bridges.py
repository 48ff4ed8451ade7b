"""The bridges of a mosquitto.conf: what stands below each ``connection``, in our own keys."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from noctule.config.documents import Document
from noctule.config.problems import KeyPath, Place, did_you_mean

_DEFAULT_PORT: Final = 1883
_NEVER: Final = 0xFFFFFFFF

#: Directives whose value is a key's as it is.
_KEYS: Final[Mapping[str, KeyPath]] = {
    "bridge_attempt_unsubscribe": ("attempt_unsubscribe",),
    "bridge_bind_address": ("bind_address",),
    "bridge_cafile": ("tls", "ca_file"),
    "bridge_capath": ("tls", "ca_directory"),
    "bridge_certfile": ("tls", "certificate_file"),
    "bridge_ciphers": ("tls", "ciphers"),
    "bridge_ciphers_tls1.3": ("tls", "ciphers_tls13"),
    "bridge_identity": ("tls", "psk_identity"),
    "bridge_keyfile": ("tls", "key_file"),
    "bridge_max_topic_alias": ("topic_alias_maximum",),
    "bridge_outgoing_retain": ("outgoing_retain",),
    "bridge_psk": ("tls", "psk"),
    "bridge_receive_maximum": ("receive_maximum",),
    "bridge_tls_use_os_certs": ("tls", "use_system_authorities"),
    "cleansession": ("clean_session",),
    "clientid": ("remote_client_id",),
    "idle_timeout": ("idle_timeout",),
    "keepalive_interval": ("keep_alive",),
    "local_cleansession": ("local_clean_session",),
    "local_clientid": ("local_client_id",),
    "local_username": ("local_user_name",),
    "notification_topic": ("notification_topic",),
    "password": ("remote_password",),
    "remote_clientid": ("remote_client_id",),
    "remote_password": ("remote_password",),
    "remote_username": ("remote_user_name",),
    "round_robin": ("round_robin",),
    "threshold": ("threshold",),
    "try_private": ("try_private",),
    "username": ("remote_user_name",),
}

#: Directives whose value is one of some words, and ours for them.
_WORDS: Final[Mapping[str, tuple[KeyPath, Mapping[str, str]]]] = {
    "bridge_protocol_version": (
        ("protocol_version",),
        {"mqttv31": "3.1", "mqttv311": "3.1.1", "mqttv50": "5", "mqttv5": "5"},
    ),
    "bridge_reload_type": (("reload",), {"lazy": "lazy", "immediate": "immediate"}),
    "bridge_tls_version": (("tls", "version"), {"tlsv1.2": "1.2", "tlsv1.3": "1.3"}),
    "start_type": (("start_type",), {"automatic": "automatic", "lazy": "lazy", "once": "once"}),
}

#: Any of these has Mosquitto speak TLS with the other broker.
_TLS: Final = frozenset(
    ("bridge_cafile", "bridge_capath", "bridge_tls_use_os_certs", "bridge_identity", "bridge_psk", "bridge_certfile")
)


@dataclass(slots=True)
class _Bridge:
    """One ``connection`` and what was said below it."""

    name: str
    place: Place
    values: dict[KeyPath, tuple[object, Place]] = field(default_factory=dict)
    addresses: list[tuple[str, Place]] = field(default_factory=list)
    topics: list[tuple[dict[str, object], Place]] = field(default_factory=list)
    uses_tls: bool = False
    notifies: bool = True
    notifies_here_only: bool = False
    notified_at: Place | None = None


class MosquittoBridges:
    """Takes the lines below ``connection`` one after the other; ``finish`` says them to the document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._bridges: list[_Bridge] = []

    def begin(self, name: str, place: Place) -> None:
        """``connection NAME``."""
        self._bridges.append(_Bridge(name, place))

    def take(self, directive: str, text: str, value: Any, place: Place) -> None:
        """One line that belongs to the last ``connection``; ``value``: its text as it was read."""
        bridge = self._bridges[-1]
        bridge.uses_tls |= directive in _TLS and value is not False
        if directive in _KEYS:
            if directive != "bridge_tls_use_os_certs" or value:
                bridge.values[_KEYS[directive]] = (value, place)
        elif directive in _WORDS:
            self._word(bridge, directive, text, place)
        else:
            getattr(self, f"_{directive}")(bridge, value, place)

    def _wrong(self, place: Place, text: str) -> None:
        self._document.problem(place, place.name or "", text)

    def _word(self, bridge: _Bridge, directive: str, text: str, place: Place) -> None:
        key, words = _WORDS[directive]
        ours = words.get(text.lower())
        if ours is None:
            self._wrong(place, f'expected {" or ".join(words)}; got "{text}"{did_you_mean(text, words)}')
        else:
            bridge.values[key] = (ours, place)

    def _address(self, bridge: _Bridge, value: str, place: Place) -> None:
        bridge.addresses += [(one, place) for one in value.split()]

    _addresses = _address

    def _topic(self, bridge: _Bridge, value: str, place: Place) -> None:
        parts = ["" if part == '""' else part for part in value.split()]
        if len(parts) > 5:
            self._wrong(place, f'expected topic PATTERN [out|in|both [QOS [HERE/ THERE/]]]; got "{value}"')
            return
        pattern, direction, qos, local_prefix, remote_prefix = (*parts, *("", "out", "0", "", "")[len(parts) :])
        if direction not in ("out", "in", "both"):
            self._wrong(place, f'expected out, in or both behind the pattern; got "{direction}"')
        elif qos not in ("0", "1", "2"):
            self._wrong(place, f'expected a QoS of 0, 1 or 2 behind "{direction}"; got "{qos}"')
        else:
            topic: dict[str, object] = {"pattern": pattern, "direction": direction, "qos": int(qos)}
            if local_prefix:
                topic["local_prefix"] = local_prefix
            if remote_prefix:
                topic["remote_prefix"] = remote_prefix
            bridge.topics.append((topic, place))

    def _bridge_alpn(self, bridge: _Bridge, value: str, place: Place) -> None:
        bridge.values["tls", "alpn"] = ([value], place)

    def _bridge_insecure(self, bridge: _Bridge, value: bool, place: Place) -> None:
        bridge.values["tls", "check_host_name"] = (not value, place)

    def _bridge_require_ocsp(self, bridge: _Bridge, value: bool, place: Place) -> None:
        if value:
            self._wrong(place, f'certificates are not asked about by OCSP here; remove the line of "{bridge.name}"')

    def _bridge_max_packet_size(self, bridge: _Bridge, value: int, place: Place) -> None:
        if value:
            bridge.values["max_packet_size",] = (value, place)

    def _bridge_session_expiry_interval(self, bridge: _Bridge, value: int, place: Place) -> None:
        if value != _NEVER:
            bridge.values["session_expiry",] = (value, place)

    def _bridge_tcp_keepalive(self, bridge: _Bridge, value: str, place: Place) -> None:
        numbers = value.split()
        if len(numbers) != 3 or not all(one.isascii() and one.isdecimal() for one in numbers):
            self._wrong(place, f'expected three numbers: idle, interval, count; got "{value}"')
            return
        for key, number in zip(("keep_alive", "keep_alive_interval", "keep_alive_count"), numbers, strict=True):
            bridge.values["tcp", key] = (int(number), place)

    def _bridge_tcp_user_timeout(self, bridge: _Bridge, value: int, place: Place) -> None:
        bridge.values["tcp", "user_timeout"] = (value / 1_000, place)

    def _local_password(self, _bridge: _Bridge, _value: str, place: Place) -> None:
        self._document.note(place, place.name or "", "has no effect: the broker knows its own bridges")

    def _notifications(self, bridge: _Bridge, value: bool, place: Place) -> None:
        bridge.notifies, bridge.notified_at = value, place

    def _notifications_local_only(self, bridge: _Bridge, value: bool, place: Place) -> None:
        bridge.notifies_here_only, bridge.notified_at = value, place

    def _restart_timeout(self, bridge: _Bridge, value: str, place: Place) -> None:
        numbers = value.split()
        if not 1 <= len(numbers) <= 3 or not all(one.isascii() and one.isdecimal() for one in numbers):
            self._wrong(place, f'expected one number, or base and cap, in seconds; got "{value}"')
            return
        base, *rest = (int(one) for one in numbers)
        bridge.values["restart_delay",] = (base, place)
        bridge.values["restart_delay_maximum",] = (rest[0] if rest else base, place)
        if len(rest) > 1:
            bridge.values["restart_settled_after",] = (rest[1], place)

    def finish(self) -> None:
        """Say all bridges to the document."""
        for bridge in self._bridges:
            self._say(bridge)

    def _say(self, bridge: _Bridge) -> None:
        place, document = bridge.place, self._document
        if not bridge.addresses:
            self._wrong(place, f'"{bridge.name}" leads nowhere: expected a line address HOST[:PORT] below it')
            return
        if not bridge.topics:
            self._wrong(place, f'nothing crosses the bridge "{bridge.name}": expected a line topic PATTERN below it')
            return
        index = document.append(("bridge",), {}, place)
        document.set(("bridge", index, "name"), bridge.name, place)
        # Mosquitto's defaults, where ours are others.
        document.set(("bridge", index, "protocol_version"), "3.1.1", place)
        document.set(("bridge", index, "reload"), "lazy", place)
        document.set(
            ("bridge", index, "addresses"),
            [_url(address, uses_tls=bridge.uses_tls) for address, _ in bridge.addresses],
            bridge.addresses[0][1],
        )
        inflight_path = ("limits", "max_inflight_messages")
        if inflight_path in document.places:  # which in Mosquitto is about bridges too
            inflight_max = document.values["limits"]["max_inflight_messages"]
            document.set(("bridge", index, "max_inflight_messages"), inflight_max, document.places[inflight_path])
        if bridge.notified_at is not None:
            told = "none" if not bridge.notifies else "local" if bridge.notifies_here_only else "both"
            document.set(("bridge", index, "notifications"), told, bridge.notified_at)
        for key, (value, said_at) in bridge.values.items():
            document.set(("bridge", index, *key), value, said_at)
        for topic, said_at in bridge.topics:
            number = document.append(("bridge", index, "topics"), {}, said_at)
            for name, said in topic.items():
                document.set(("bridge", index, "topics", number, name), said, said_at)
        self._tell_differences(bridge)

    def _tell_differences(self, bridge: _Bridge) -> None:
        place, document = bridge.place, self._document
        if ("session_expiry",) not in bridge.values and ("protocol_version",) in bridge.values:
            version, said_at = bridge.values["protocol_version",]
            if version == "5" and not bridge.values.get(("clean_session",), (False, place))[0]:
                document.note(
                    said_at,
                    said_at.name or "",
                    "the other broker keeps the session for good; Mosquitto asks for that by "
                    "bridge_session_expiry_interval only",
                )
        if ("local_user_name",) in bridge.values:
            said_at = bridge.values["local_user_name",][1]
            document.note(said_at, said_at.name or "", "access rules count for the bridge, by this user name")


def _url(address: str, *, uses_tls: bool) -> str:
    """An address as a URL; of a port nothing is said in Mosquitto where it is 1883, with TLS too."""
    host, colon, port = address.rpartition(":")
    has_port = bool(colon) and not address.endswith("]") and ":" not in host.removeprefix("[").partition("]")[0]
    has_port = has_port or (address.startswith("[") and "]:" in address)
    bare = host if has_port else address
    if ":" in bare and not bare.startswith("["):
        bare = f"[{bare}]"
    return f"{'mqtts' if uses_tls else 'mqtt'}://{bare}:{port if has_port else _DEFAULT_PORT}"
