"""Sockets that systemd has opened for the broker (sd_listen_fds(3)): passed as descriptors from 3 on."""

import os
import socket
from collections.abc import Mapping
from typing import Final

from noctule.net.errors import ListenError

_FIRST_DESCRIPTOR: Final = 3

#: What systemd passes at most is far less; a larger number is no number of descriptors.
_DESCRIPTORS_MAX: Final = 1_024

#: A socket whose unit says no FileDescriptorName has the unit's name; this is what sockets without any have.
_NO_NAME: Final = "unknown"


def passed_descriptors(environment: Mapping[str, str], process: int) -> dict[str, list[int]]:
    """The descriptors by their name; empty where none were passed to this process."""
    if environment.get("LISTEN_PID") != str(process):
        return {}
    count_text = environment.get("LISTEN_FDS", "")
    count = int(count_text) if count_text.isascii() and count_text.isdecimal() else 0
    if count > _DESCRIPTORS_MAX:
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    found: dict[str, list[int]] = {}
    for index in range(count):
        name = names[index] if index < len(names) and names[index] else _NO_NAME
        found.setdefault(name, []).append(_FIRST_DESCRIPTOR + index)
    return found


def take_sockets(
    name: str, environment: Mapping[str, str] | None = None, process: int | None = None
) -> list[socket.socket]:
    """The listening sockets of this name, non-blocking. ListenError where there is none, or one of another kind.

    They are copies: the descriptors that were passed stay as they are, for a listener that is opened again.
    """
    passed = passed_descriptors(
        os.environ if environment is None else environment, os.getpid() if process is None else process
    )
    descriptors = passed.get(name)
    if not descriptors:
        named = ", ".join(sorted(passed)) or "none at all"
        raise ListenError(f"cannot listen on the sockets {name} of systemd: it has passed {named}")
    taken: list[socket.socket] = []
    try:
        for descriptor in descriptors:
            taken.append(socket.socket(fileno=os.dup(descriptor)))
            taken[-1].setblocking(False)
        listens = all(
            one.type == socket.SOCK_STREAM and one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for one in taken
        )
        why = "" if listens else "one is no listening stream socket (ListenStream=, Accept=no)"
    except OSError as error:
        why = error.strerror or str(error)
    if why:
        for one in taken:
            one.close()
        raise ListenError(f"cannot listen on the sockets {name} of systemd: {why}")
    return taken
