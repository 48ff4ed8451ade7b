"""Sends the log where the settings say, as text or as JSON."""

import json
import logging
import sys
import time
from pathlib import Path
from typing import Final

from noctule.config.log import LogFormat, LogLevel, LogSettings, LogStream

#: The numbers of our levels in ``logging``; none is above everything.
_NUMBERS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
    LogLevel.NONE: logging.CRITICAL + 1,
}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``ts``, ``level``, ``logger``, ``message``, and ``exception`` where there is one."""

    def __init__(self, settings: LogSettings) -> None:
        super().__init__(datefmt=settings.timestamp_format)
        self._has_time = settings.timestamps

    def format(self, record: logging.LogRecord) -> str:
        """The record as a line."""
        entry: dict[str, object] = {"ts": self.formatTime(record, self.datefmt)} if self._has_time else {}
        entry |= {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


def open_log(settings: LogSettings) -> None:
    """Log as the settings say from now on.

    A file that cannot be written to is a warning, and the log goes to stderr: the broker is worth more than its log.
    """
    handlers: list[logging.Handler] = []
    failures = []
    for destination in dict.fromkeys(settings.destinations):
        if isinstance(destination, Path):
            try:
                handlers.append(logging.FileHandler(destination, encoding="utf-8"))
            except OSError as error:
                failures.append(f"Cannot log to {destination}: {error.strerror or error}. Logging to stderr.")
        else:
            handlers.append(logging.StreamHandler(sys.stdout if destination is LogStream.STDOUT else sys.stderr))
    if failures and not any(isinstance(one, logging.StreamHandler) and one.stream is sys.stderr for one in handlers):
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = _formatter(settings)
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(handlers=handlers or [logging.NullHandler()], level=_NUMBERS[settings.level], force=True)
    for name, level in settings.levels.items():
        logging.getLogger(name).setLevel(_NUMBERS[level])
    for text in failures:
        logging.getLogger("noctule").warning(text)


def _formatter(settings: LogSettings) -> logging.Formatter:
    if settings.format is LogFormat.JSON:
        return JsonFormatter(settings)
    line = "%(levelname)s %(message)s"
    formatter = logging.Formatter(
        f"%(asctime)s {line}" if settings.timestamps else line, datefmt=settings.timestamp_format
    )
    formatter.converter = time.localtime
    return formatter
