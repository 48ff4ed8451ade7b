"""The logs of the system as destinations: syslog, and the journal of systemd by its own protocol.

Neither ever makes the broker wait: a message that the system does not take at once is dropped and counted.
"""

import logging
import logging.handlers
import os
import socket
import struct
from pathlib import Path
from typing import Final

from noctule.config.log import SyslogFacility
from noctule.services.log_format import fields_of_record

#: Where the journal takes messages.
JOURNAL_SOCKET: Final = Path("/run/systemd/journal/socket")

#: Longer texts are cut: a datagram of a unix socket is limited, by some 200 KiB on Linux.
_TEXT_MAX: Final = 32_768

_IDENTIFIER: Final = "noctule"


def priority_of(level: int) -> int:
    """The priority of syslog for a level of ``logging``."""
    for least, priority in ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO + 1, 5)):
        if level >= least:
            return priority
    return 6 if level >= logging.INFO else 7


class SyslogOutput(logging.Handler):
    """Syslog at a unix socket, or at "HOST:PORT" over UDP, in the form of RFC 3164 without the time.

    ``logging`` has such a handler; it waits for a socket that is full.
    """

    def __init__(self, address: str, facility: SyslogFacility) -> None:
        super().__init__()
        self.lost_count = 0
        self._facility = logging.handlers.SysLogHandler.facility_names[facility.value]
        self._family: int = socket.AF_UNIX
        self._where: str | tuple[object, ...] = address
        host, colon, port = address.rpartition(":")
        if colon and port.isdecimal() and "/" not in address:
            # Once: whoever looks a name up waits.
            name = host.removeprefix("[").removesuffix("]")
            self._family, _, _, _, self._where = socket.getaddrinfo(name, int(port), type=socket.SOCK_DGRAM)[0]
        self._socket: socket.socket | None = self._connect()

    def _connect(self) -> socket.socket:
        """A socket that never waits. OSError where nobody takes messages."""
        found = socket.socket(self._family, socket.SOCK_DGRAM)
        try:
            found.setblocking(False)
            found.connect(self._where)
        except OSError:
            found.close()
            raise
        return found

    def emit(self, record: logging.LogRecord) -> None:
        """Send the record; syslog may have been started again meanwhile."""
        try:
            priority = self._facility << 3 | priority_of(record.levelno)
            text = self.format(record)[:_TEXT_MAX]
            data = f"<{priority}>{_IDENTIFIER}[{os.getpid()}]: {text}".encode(errors="backslashreplace")
            if self._socket is not None:
                try:
                    self._socket.send(data)
                except BlockingIOError:
                    raise
                except OSError:
                    self._socket.close()
                    self._socket = None
                else:
                    return
            self._socket = self._connect()
            self._socket.send(data)
        except Exception:
            self.lost_count += 1

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        super().close()


class JournalOutput(logging.Handler):
    """The journal of systemd: each message with its level, logger, and what is known of the client as fields.

    OSError where there is no journal.
    """

    def __init__(self, address: Path = JOURNAL_SOCKET) -> None:
        super().__init__()
        self.lost_count = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect(str(address))
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        """Hand the record over."""
        try:
            text = record.getMessage()
            if record.exc_info:
                text += "\n" + (self.formatter or logging.Formatter()).formatException(record.exc_info)
            fields: dict[str, object] = {
                "MESSAGE": text[:_TEXT_MAX],
                "PRIORITY": priority_of(record.levelno),
                "SYSLOG_IDENTIFIER": _IDENTIFIER,
                "SYSLOG_PID": os.getpid(),
                "LOGGER": record.name,
            }
            fields |= {f"NOCTULE_{name.upper()}": value for name, value in fields_of_record(record).items()}
            self._socket.send(b"".join(_field(name, str(value)) for name, value in fields.items()))
        except Exception:
            self.lost_count += 1

    def close(self) -> None:
        """Let go of the socket."""
        self._socket.close()
        super().close()


def _field(name: str, value: str) -> bytes:
    """One field of a journal entry: with its length, so that no line feed in it can begin another."""
    data = value.encode(errors="backslashreplace")
    return name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n"
