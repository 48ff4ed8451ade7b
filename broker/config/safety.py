"""What works and is not safe: ``noctule check`` says it, and ``noctule run`` at its start."""

import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from noctule.config.problems import KeyPath, Place, Positions, Problem
from noctule.config.settings import Durability, ListenerSettings, Settings

_WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH


def closed_listeners(settings: Settings, positions: Positions) -> list[Problem]:
    """The listeners that nobody could pass: no plugin decides on user names, and none are not let in."""
    if any(plugin.authenticates for plugin in settings.plugins):
        return []
    found = []
    for index, listener in enumerate(settings.listeners):
        if not settings.admits_anonymous(listener) and not listener.proves_users:
            found.append(
                positions.problem(
                    ("listeners", index),
                    "nobody could connect: clients without a user name are not let in, and no plugin knows others; "
                    "name one that does (password_file), or set allow_anonymous to true",
                )
            )
    return found


def undurable_listeners(settings: Settings, positions: Positions, said_by: str = "") -> list[Problem]:
    """The listeners whose state is to be kept, where there is no store. ``said_by``: who has said that there is none,
    where it is not the configuration."""
    if settings.durability is not Durability.MEMORY:
        return []
    place = said_by or positions.place(("durability",))
    return [
        positions.problem(
            ("listeners", index, "durability"),
            f'"{listener.durability.value}" needs a store, and with durability = "memory" for all ({place}) there is '
            'none; set that to "disk" and this to "memory" where nothing is to be kept',
        )
        for index, listener in enumerate(settings.listeners)
        if listener.durability is not None and listener.durability is not Durability.MEMORY
    ]


def clashing_listeners(settings: Settings, positions: Positions) -> list[Problem]:
    """The listeners that want an address that another one has."""
    taken: dict[tuple[str, int], int] = {}
    named: dict[str, int] = {}
    found = []
    for index, listener in enumerate(settings.listeners):
        if listener.path is None and not listener.systemd_socket and listener.port == 0:
            continue
        if listener.path is not None or listener.systemd_socket:
            first = named.setdefault(listener.name, index)
            if first != index:
                other = positions.place(("listeners", first))
                found.append(
                    positions.problem(("listeners", index), f"{listener.name} is taken by the listener of {other}")
                )
            continue
        for host in listener.hosts:
            first = taken.setdefault((host, listener.port), index)
            if first != index:
                other = positions.place(("listeners", first))
                found.append(
                    positions.problem(
                        ("listeners", index), f"{host}:{listener.port} is taken by the listener of {other}"
                    )
                )
    return found


def closed_gateways(settings: Settings, positions: Positions) -> list[Problem]:
    """The MQTT-SN gateways that no device could pass: they are anonymous, and who is anonymous is not let in."""
    if settings.plugins:
        return []
    return [
        positions.problem(
            ("mqtt_sn", index),
            'no device could connect: devices are anonymous here, and not let in; give them a "user_name", or set '
            "allow_anonymous to true",
        )
        for index, gateway in enumerate(settings.mqtt_sn)
        if gateway.user_name is None
        and not settings.admits_anonymous(
            ListenerSettings(gateway.address, gateway.port, allow_anonymous=gateway.allow_anonymous)
        )
    ]


def clashing_gateways(settings: Settings, positions: Positions) -> list[Problem]:
    """The MQTT-SN gateways that want the address or the client identifier that another one has."""
    taken: dict[tuple[str, object], int] = {}
    found = []
    for index, gateway in enumerate(settings.mqtt_sn):
        wanted: list[tuple[str, object]] = [("client identifier", gateway.own_client_id)]
        if gateway.port:
            wanted.append(("address", f"{gateway.address}:{gateway.port}"))
        for what, value in wanted:
            first = taken.setdefault((what, value), index)
            if first != index:
                other = positions.place(("mqtt_sn", first))
                text = f"the {what} {value} is taken by the gateway of {other}"
                if what == "client identifier":
                    text += '; give each a "gateway_id" of its own'
                found.append(positions.problem(("mqtt_sn", index), text))
    return found


def exposed_gateways(settings: Settings, positions: Positions) -> list[Problem]:
    """The MQTT-SN gateways that others than this machine can reach: nothing there is encrypted or proven."""
    return [
        positions.problem(
            ("mqtt_sn", index),
            f"whoever can reach {gateway.address}:{gateway.port} by UDP can be any of its devices and read what they "
            "send: MQTT-SN has neither passwords nor encryption",
        )
        for index, gateway in enumerate(settings.mqtt_sn)
        if not ListenerSettings(gateway.address).is_local
    ]


def open_listeners(settings: Settings, positions: Positions) -> list[Problem]:
    """The listeners that let strangers in, or passwords out."""
    found = []
    for index, listener in enumerate(settings.listeners):
        if listener.is_local:
            continue
        path: KeyPath = ("listeners", index)
        if settings.admits_anonymous(listener):
            said: KeyPath = (*path, "allow_anonymous")
            if positions.find(said) is None and positions.find(("allow_anonymous",)) is not None:
                said = ("allow_anonymous",)
            found.append(
                positions.problem(
                    said,
                    f"everybody who can reach {listener.name} may connect without a password, read every message and "
                    "send any",
                )
            )
        elif listener.tls is None:
            found.append(positions.problem(path, "passwords cross the network in plain text here: there is no TLS"))
    return found


def open_http(settings: Settings, positions: Positions) -> list[Problem]:
    """The HTTP port, where its password crosses the network."""
    if settings.http.is_local or settings.http.enabled is False:
        return []
    text = "the password of the HTTP port crosses the network in plain text: put a proxy with TLS in front"
    return [positions.problem(("http", "address"), text)]


def clashing_bridges(settings: Settings, positions: Positions) -> list[Problem]:
    """The bridges that want the name or the client identifier that another one has."""
    taken: dict[tuple[str, str], int] = {}
    found = []
    for index, bridge in enumerate(settings.bridges):
        for what, value in (("name", bridge.name), ("client identifier here", bridge.client_id_here)):
            first = taken.setdefault((what, value), index)
            if first != index:
                other = positions.place(("bridge", first))
                found.append(
                    positions.problem(("bridge", index), f"the {what} {value} is taken by the bridge of {other}")
                )
                break
    return found


def open_bridges(settings: Settings, positions: Positions) -> list[Problem]:
    """The bridges whose password anybody on the way can read, or whose other end may be anybody."""
    found = []
    for index, bridge in enumerate(settings.bridges):
        plain = [one for one in bridge.addresses if not one.startswith(("mqtts://", "wss://", "unix://"))]
        encrypted = [one for one in bridge.addresses if one.startswith(("mqtts://", "wss://"))]
        if plain and bridge.remote_password is not None:
            found.append(
                positions.problem(
                    ("bridge", index, "addresses"),
                    f"the password crosses the network in plain text to {plain[0]}: there is no TLS (mqtts://)",
                )
            )
        if encrypted and not bridge.tls.check_host_name:
            found.append(
                positions.problem(
                    ("bridge", index, "tls", "check_host_name"),
                    "whoever has any certificate of these authorities can pose as the other broker",
                )
            )
    return found


def open_files(files: Iterable[tuple[Path, Place, str]], secrets: Iterable[Place]) -> list[Problem]:
    """The files with secrets that others may read or write; where there is no such file nothing is said here."""
    found = []
    for path, place, about in files:
        text = _what_is_open(path)
        if text:
            found.append(Problem(place, about, f"{path} {text}"))
    for source in dict.fromkeys(place.source for place in secrets):
        path = Path(source)
        text = _what_is_open(path)
        if text:
            found.append(Problem(Place(source), "", f"the file has secrets in it and {text}"))
    return found


def _what_is_open(path: Path) -> str:
    try:
        mode = path.stat().st_mode  # of what a link leads to: links themselves are open to all
    except OSError:
        return ""
    if mode & stat.S_IROTH:
        return f"can be read by everybody (mode {stat.S_IMODE(mode):04o}): chmod 600 it, or 640 with the broker's group"
    if mode & _WRITABLE_BY_OTHERS:
        return f"can be changed by others than its owner (mode {stat.S_IMODE(mode):04o}): chmod 600 it"
    return ""
