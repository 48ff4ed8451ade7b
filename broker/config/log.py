"""What is logged, how, and where to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

from noctule.config.options import Option

#: ISO 8601 with the offset from UTC.
TIMESTAMP_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%z"


class LogStream(Enum):
    """A destination that is no file."""

    STDERR = "stderr"
    STDOUT = "stdout"


class LogLevel(Enum):
    """From what on a message is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NONE = "none"


class LogFormat(Enum):
    """How a line of the log is written."""

    TEXT = "text"

    #: One JSON object a line.
    JSON = "json"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """The log."""

    level: Annotated[
        LogLevel, Option("From what on a message is logged; debug has each connection, none nothing at all.")
    ] = LogLevel.INFO
    format: Annotated[LogFormat, Option("Lines for people, or one JSON object a line.")] = LogFormat.TEXT
    destinations: Annotated[
        tuple[LogStream | Path, ...],
        Option('Where the log goes: "stderr", "stdout", or paths of files. Several are allowed; none is silence.'),
    ] = (LogStream.STDERR,)
    timestamps: Annotated[
        bool, Option("Whether each line begins with the time; a service manager that adds its own needs none.")
    ] = True
    timestamp_format: Annotated[str, Option("The time in a line, in the notation of strftime.")] = TIMESTAMP_FORMAT
    levels: Annotated[
        Mapping[str, LogLevel],
        Option("Levels of single loggers, by name.", example='{ "noctule.net" = "debug" }'),
    ] = field(default_factory=dict)
