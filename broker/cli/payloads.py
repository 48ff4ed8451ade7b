"""What a message is made of: a text, a file, standard input as a whole or line by line, or nothing."""

import os
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

import trio
from noctule.cli.connection_options import ConnectionOptions
from noctule.cli.option_reading import Option, flag, valued
from noctule.cli.outcome import UsageError

_READ_BYTES: Final = 65_536


class PayloadSource(Enum):
    """Where the payload comes from."""

    TEXT = "-m"
    FILE = "-f"
    NOTHING = "-n"
    STANDARD_INPUT = "-s"
    LINES = "-l"


@dataclass(slots=True)
class PayloadOptions(ConnectionOptions):
    """The options of a command that publishes."""

    source: PayloadSource | None = None
    text: bytes = b""
    file: str = ""
    retain: bool = False

    def choose(self, source: PayloadSource) -> None:
        """UsageError for a second source."""
        if self.source is not None:
            raise UsageError("Only one type of message can be sent at once.")
        self.source = source


def _set_text(options: PayloadOptions, text: str) -> None:
    options.choose(PayloadSource.TEXT)
    options.text = os.fsencode(text)


def _set_file(options: PayloadOptions, path: str) -> None:
    options.choose(PayloadSource.FILE)
    options.file = path


PAYLOAD_OPTIONS: Final[Sequence[Option[PayloadOptions]]] = (
    valued("-m --message", "text", "this text", _set_text, "message"),
    valued("-f --file", "file", "the contents of this file", _set_file),
    flag("-n --null-message", "no payload", lambda options: options.choose(PayloadSource.NOTHING)),
    flag("-s --stdin-file", "all of standard input", lambda options: options.choose(PayloadSource.STANDARD_INPUT)),
)

LINE_OPTION: Final[Option[PayloadOptions]] = flag(
    "-l --stdin-line",
    "a message for each line of standard input",
    lambda options: options.choose(PayloadSource.LINES),
)


async def payload_of(options: PayloadOptions) -> bytes:
    """The one payload. UsageError for a file that cannot be read, or nothing on standard input."""
    match options.source:
        case PayloadSource.TEXT:
            return options.text
        case PayloadSource.FILE:
            try:
                return await trio.to_thread.run_sync(Path(options.file).read_bytes)
            except OSError as error:
                raise UsageError(f'Unable to open file "{options.file}": {error.strerror}') from None
        case PayloadSource.STANDARD_INPUT:
            parts = [part async for part in _standard_input()]
            if not parts:
                raise UsageError("Zero length input.")
            return b"".join(parts)
        case _:
            return b""


async def lines() -> AsyncIterator[bytes]:
    """Each line of standard input without its end; the last one need not have an end."""
    rest = b""
    async for part in _standard_input():
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


async def _standard_input() -> AsyncIterator[bytes]:
    # The thread is left behind when we are interrupted: nothing wakes a read of a terminal. And so it must not
    # hold the lock of a buffered file, which the interpreter would wait for at its end.
    file = sys.stdin.fileno()
    while part := await trio.to_thread.run_sync(os.read, file, _READ_BYTES, abandon_on_cancel=True):
        yield part
