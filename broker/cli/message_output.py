"""Prints messages: as they are, with their topics, in a format; on a terminal with colour and on fixed lines."""

import os
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from noctule.cli.message_format import MessageFormat, Moment
from noctule.client import Message

_TOPIC: Final = b"\x1b[36m"
_FAINT: Final = b"\x1b[2m"
_PLAIN: Final = b"\x1b[0m"
_CLEAR: Final = b"\x1b[2J\x1b[1;1H"

#: The first line that a watched topic may have; above it stands whose messages they are.
_FIRST_WATCHED_LINE: Final = 2

#: What a payload must not do to a terminal: everything but tab and new line stands there to be seen.
_CONTROLS: Final = {code: f"\\x{code:02x}" for code in (*range(32), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"}


@dataclass(slots=True)
class OutputOptions:
    """How messages are printed."""

    is_verbose: bool = False
    format: str | None = None
    pretty: bool = False
    end_of_line: bool = True

    #: The percentage of messages that are printed.
    random_percent: float = 100.0

    is_watch: bool = False


def terminal_is_coloured() -> bool:
    """Whether standard output is a terminal that is to have colours (NO_COLOR: https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Printer:
    """Prints messages on standard output; each is there when it has come, through a pipe too."""

    def __init__(self, options: OutputOptions, server: str, draw: Callable[[], float] = random.random) -> None:
        self._options = options
        self._format = None if options.format is None else MessageFormat(options.format, options.pretty)
        self._is_terminal = sys.stdout.isatty()
        self._is_coloured = terminal_is_coloured()
        self._draw = draw
        self._line_of: dict[str, int] = {}
        self._is_watch = options.is_watch and self._is_terminal
        if self._is_watch:
            self._write(_CLEAR + f"Broker: {server}\n".encode())

    def print(self, message: Message) -> None:
        """Print one message, unless it is left out by chance."""
        if self._options.random_percent < 100 and self._draw() * 100 >= self._options.random_percent:
            return
        line = self._line(message)
        if self._is_watch:
            number = self._line_of.setdefault(message.topic, _FIRST_WATCHED_LINE + len(self._line_of))
            below = _FIRST_WATCHED_LINE + len(self._line_of)
            first = line.rstrip(b"\n").replace(b"\n", b" ")
            line = b"\x1b[%d;1H\x1b[K%s\x1b[%d;1H" % (number, first, below)
        if line:
            self._write(line)

    def _line(self, message: Message) -> bytes:
        end = b"\n" if self._options.end_of_line else b""
        if self._format is not None:
            return self._format.render(message, Moment.now()) + end
        if self._options.is_verbose:
            topic = self._shown(message.topic.encode())
            if self._is_coloured:
                topic = _TOPIC + topic + _PLAIN
            if message.payload:
                return topic + b" " + self._shown(message.payload) + end
            nothing = _FAINT + b"(null)" + _PLAIN if self._is_coloured else b"(null)"
            return topic + b" " + nothing + end if end else b""
        # An empty payload is no line at all.
        return self._shown(message.payload) + end if message.payload else b""

    def _shown(self, data: bytes) -> bytes:
        """The bytes as they are; on a terminal without those that would move its cursor or worse."""
        if not self._is_terminal or not self._options.end_of_line:
            return data
        return data.decode(errors="backslashreplace").translate(_CONTROLS).encode()

    @staticmethod
    def _write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
