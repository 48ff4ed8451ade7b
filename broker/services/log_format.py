"""How a line of the log is written: as text for people, or as JSON. What clients have chosen cannot break a line."""

import json
import logging
import re
import time
from typing import Final

from noctule.config.log import LogFormat, LogLevel, LogSettings

#: The numbers of our levels in ``logging``; none is above everything.
LEVEL_NUMBERS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.NONE: logging.CRITICAL + 1,
}

#: What a record may carry beside its text (``extra=``), by the names of programs that read logs.
FIELDS: Final = ("client_id", "user_name", "peer", "topic", "action", "rule")

#: What would end a line, move the cursor of a terminal, turn the direction of writing, or cannot be written as UTF-8.
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def escaped_line(text: str) -> str:
    """The text as it may stand in a line: what is not printable is shown as Python writes it (``\\n``, ``\\x1b``)."""
    return _UNSAFE.sub(lambda found: ascii(found[0])[1:-1], text)


class TextFormatter(logging.Formatter):
    """Time, level and text in one line; a traceback below it."""

    def __init__(self, settings: LogSettings) -> None:
        line = "%(levelname)s %(message)s"
        super().__init__(f"%(asctime)s {line}" if settings.timestamps else line, datefmt=settings.timestamp_format)
        self.converter = time.localtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line, without traceback."""
        record.message = escaped_line(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: object) -> str:  # noqa: N802
        """A traceback, line by line: what an exception says may come from a client."""
        return "\n".join(map(escaped_line, super().formatException(ei).split("\n")))  # type: ignore[arg-type]


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``logger``, ``message``, what else is known of the client, and
    ``exception`` where there is one."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__(datefmt=settings.timestamp_format)
        self._has_time = settings.timestamps

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        entry: dict[str, object] = {"ts": self.formatTime(record, self.datefmt)} if self._has_time else {}
        entry |= {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        entry |= fields_of_record(record)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        text = json.dumps(entry, ensure_ascii=False, default=str)
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def fields_of_record(record: logging.LogRecord) -> dict[str, object]:
    """What the record carries beside its text; nothing for what is not known."""
    values = ((name, getattr(record, name, None)) for name in FIELDS)
    return {name: value for name, value in values if value not in (None, "")}


def formatter_of(settings: LogSettings) -> logging.Formatter:
    """The one that the settings ask for."""
    return JsonFormatter(settings) if settings.format is LogFormat.JSON else TextFormatter(settings)
