"""Tells the service manager how the broker is: ready, reloading, stopping, alive (sd_notify(3)).

Without the variable ``NOTIFY_SOCKET``, that is when no service manager waits for it, everything here does nothing.
"""

import errno
import logging
import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

import trio

#: The socket that the service manager reads from, and how long it waits for a sign of life, in microseconds.
_SOCKET: Final = "NOTIFY_SOCKET"
_WATCHDOG_USEC: Final = "WATCHDOG_USEC"

#: The process that the watchdog waits for, where it is not every one that has the variables.
_WATCHDOG_PID: Final = "WATCHDOG_PID"

#: A status is one line, for people.
_STATUS_MAX_CHARACTERS: Final = 200

#: The service manager has as much unread as the socket takes: nothing is waited for, the next word comes soon.
_BUSY: Final = frozenset((errno.EAGAIN, errno.EWOULDBLOCK, errno.ENOBUFS))

_logger = logging.getLogger("noctule")


class ServiceManager:
    """Who has started us and wants to know. Made by ``service_manager``.

    A word that cannot be delivered is lost, and logged once: the broker serves on.
    """

    def __init__(self, address: bytes | None, watchdog_s: float | None) -> None:
        self._address = address
        self._has_failed = False

        #: How long the service manager waits for a sign of life before it ends us; None: it does not.
        self.watchdog_s = watchdog_s

    @property
    def is_there(self) -> bool:
        """Whether anybody wants to know."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """The broker serves: it has started, or a reload is over."""
        self._tell("READY=1", f"STATUS={_one_line(status)}")

    def reloading(self) -> None:
        """The configuration is being read again; ``ready`` follows, whatever becomes of it."""
        # The manager compares the time with its own clock, to know this word from one of an earlier reload.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", "STATUS=Reading the configuration")

    def stopping(self) -> None:
        """The broker ends."""
        self._tell("STOPPING=1", "STATUS=Stopping")

    async def keep_alive(self) -> None:
        """Give signs of life, two in the time that the manager waits, until cancelled; returns if it does not wait.

        They are given by a task like any other: when the event loop hangs, they end.
        """
        if self.watchdog_s is None:
            return
        while True:
            self._tell("WATCHDOG=1")
            await trio.sleep(self.watchdog_s / 2)

    def _tell(self, *words: str) -> None:
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.setblocking(False)
                sender.sendto("\n".join(words).encode(errors="replace"), self._address)
        except OSError as error:
            if error.errno in _BUSY or self._has_failed:
                return
            self._has_failed = True
            _logger.warning("Cannot tell the service manager (%s): %s", _SOCKET, error.strerror or error)


def service_manager(environment: Mapping[str, str], process: int) -> ServiceManager:
    """The service manager that the variables tell of; one that nobody is where they do not."""
    text = environment.get(_SOCKET, "")
    # A path, or a name in Linux's abstract name space; what else there may be (vsock:) is for virtual machines.
    address = b"\0" + os.fsencode(text[1:]) if text.startswith("@") else os.fsencode(text)
    if not text.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return ServiceManager(None, None)
    return ServiceManager(address, _watchdog_s(environment, process))


def _watchdog_s(environment: Mapping[str, str], process: int) -> float | None:
    if environment.get(_WATCHDOG_PID, str(process)) != str(process):
        return None
    with suppress(ValueError):
        microseconds = int(environment.get(_WATCHDOG_USEC, ""))
        return microseconds / 1e6 if microseconds > 0 else None
    return None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:_STATUS_MAX_CHARACTERS]
