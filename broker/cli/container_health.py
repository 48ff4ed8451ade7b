"""The health check of the container image: whether the broker answers, on a listener that its configuration names.

``python -m noctule.cli.container_health``. In place of ``noctule ping`` because that needs to be let in, and is told
an address: this takes a refusal for an answer, so it needs no password, and finds the address itself. Where the
environment has a user, it logs in, so that the log stays quiet.
"""

import os
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from noctule.cli.container import ContainerError, FirstUser, Layout, find_config, first_user_of, settle
from noctule.config.settings import EVERY_ADDRESS, ListenerSettings, Protocol

_TIMEOUT_S: Final = 5.0

#: MQTT 3.1.1, Clean Session, no Keep Alive, no identifier; the Connect Flags come in between.
_HEADER: Final = b"\x00\x04MQTT\x04"
_CLEAN_SESSION: Final = 0x02
_USER_NAME_AND_PASSWORD: Final = 0xC0
_CONNACK: Final = 0x20


def check(environment: Mapping[str, str], layout: Layout) -> str | None:
    """What is wrong with the broker; None where it answers."""
    # The words that the container was started with are those of its first process.
    config, words = find_config(_words_of_broker(), layout)
    user = None
    with suppress(ContainerError):
        user = first_user_of(environment)
    settings = settle(config, words, environment, user, layout).examined.settings
    if settings is None:
        return f"{config} cannot be used"
    listeners = [one for one in settings.listeners if one.path is None and one.port]
    # An answer says more than an accepted connection.
    listeners.sort(key=lambda one: one.tls is not None or one.protocol is not Protocol.MQTT)
    if not listeners:
        return f"{config} has no listener with a port"
    try:
        return _probe(listeners[0], user)
    except OSError as error:
        return f"{listeners[0].name}: {error.strerror or error}"


def _probe(listener: ListenerSettings, user: FirstUser | None) -> str | None:
    # By number: a container need not know what localhost is.
    host = {EVERY_ADDRESS: "127.0.0.1", "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(  # noqa: S104
        listener.hosts[0], listener.hosts[0]
    )
    with socket.create_connection((host, listener.port), timeout=_TIMEOUT_S) as connection:
        if listener.tls is not None or listener.protocol is not Protocol.MQTT:
            return None
        connection.sendall(connect_packet(user))
        answer = connection.recv(4)
        if not answer or answer[0] != _CONNACK:
            return f"{listener.name}: no CONNACK"
        if answer[3:] == b"\x00":
            connection.sendall(b"\xe0\x00")  # DISCONNECT
    return None


def connect_packet(user: FirstUser | None) -> bytes:
    """A CONNECT as that user, or as nobody."""
    flags, payload = _CLEAN_SESSION, _field(b"")
    if user is not None:
        flags |= _USER_NAME_AND_PASSWORD
        payload += _field(user.name.encode()) + _field(user.password)
    body = _HEADER + bytes((flags, 0, 0)) + payload
    length, remaining = b"", len(body)
    while True:
        remaining, low = divmod(remaining, 128)
        length += bytes((low | (0x80 if remaining else 0),))
        if not remaining:
            return b"\x10" + length + body


def _field(content: bytes) -> bytes:
    return len(content).to_bytes(2, "big") + content


def _words_of_broker(process: Path = Path("/proc/1/cmdline")) -> list[str]:
    """The options that the first process of the container has; none where it cannot be asked."""
    try:
        words = process.read_bytes().decode(errors="surrogateescape").split("\0")
    except OSError:
        return []
    return words[words.index("run") + 1 :] if "run" in words else []


def main() -> int:
    """Check. 0: the broker answers; 1: it does not."""
    wrong = check(os.environ, Layout())
    if wrong is not None:
        print(f"noctule: {wrong}", file=sys.stderr)
    return 0 if wrong is None else 1


if __name__ == "__main__":
    sys.exit(main())
