"""Sends the log where the settings say."""

import logging
import sys
from pathlib import Path

from noctule.config.log import LogSettings, LogStream
from noctule.services.log_file import LogFile
from noctule.services.log_format import LEVEL_NUMBERS, formatter_of
from noctule.services.log_limit import LimitedLog, LineLimit
from noctule.services.log_system import JournalOutput, SyslogOutput
from noctule.services.log_topics import LogTopics


def open_log(settings: LogSettings, before: LogSettings | None = None) -> None:
    """Log as the settings say from now on; ``before``: what held until now.

    A destination that cannot be had is a warning, and the log goes to stderr: the broker is worth more than its log.
    """
    handlers: list[logging.Handler] = []
    failures = []
    for destination in dict.fromkeys(settings.destinations):
        try:
            handlers += _handlers_of(destination, settings)
        except OSError as error:
            name = destination.value if isinstance(destination, LogStream) else destination
            failures.append(f"Cannot log to {name}: {error.strerror or error}. Logging to stderr.")
    if failures and not any(isinstance(one, logging.StreamHandler) and one.stream is sys.stderr for one in handlers):
        handlers.append(logging.StreamHandler(sys.stderr))
    formatter = formatter_of(settings)
    for handler in handlers:
        handler.setFormatter(formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        if not isinstance(old, LogTopics):  # a broker's own
            root.removeHandler(old)
            old.close()
    root.addHandler(LimitedLog(tuple(handlers), LineLimit(settings.max_lines_per_source)))
    root.setLevel(LEVEL_NUMBERS[settings.level])
    ours = [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "noctule"]
    for name in (*ours, *(before.levels if before is not None else ())):
        logging.getLogger(name).setLevel(logging.NOTSET)
    for name, level in settings.levels.items():
        logging.getLogger(name).setLevel(LEVEL_NUMBERS[level])
    for text in failures:
        logging.getLogger("noctule").warning("%s", text)


def _handlers_of(destination: LogStream | Path, settings: LogSettings) -> list[logging.Handler]:
    """What logs there; nothing where the broker does it itself. OSError where it cannot be had."""
    match destination:
        case Path():
            return [LogFile(destination, encoding="utf-8")]
        case LogStream.STDOUT:
            return [logging.StreamHandler(sys.stdout)]
        case LogStream.SYSLOG:
            return [SyslogOutput(settings.syslog_address, settings.syslog_facility)]
        case LogStream.JOURNALD:
            return [JournalOutput()]
        case LogStream.TOPIC:
            return []
        case _:
            return [logging.StreamHandler(sys.stderr)]


def reopen_log_files() -> None:
    """Open the files of the log anew: they may have been renamed."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, LimitedLog):
            handler.reopen()
