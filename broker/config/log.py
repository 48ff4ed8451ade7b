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

    #: The system's log, by the protocol of syslog.
    SYSLOG = "syslog"

    #: The journal of systemd, by its own protocol: level, logger and client stay fields.
    JOURNALD = "journald"

    #: $SYS/broker/log/E, W, N, I and D.
    TOPIC = "topic"


class LogLevel(Enum):
    """From what on a message is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    NONE = "none"


class SyslogFacility(Enum):
    """The part of the system that a message comes from, for syslog."""

    DAEMON = "daemon"
    USER = "user"
    LOCAL0 = "local0"
    LOCAL1 = "local1"
    LOCAL2 = "local2"
    LOCAL3 = "local3"
    LOCAL4 = "local4"
    LOCAL5 = "local5"
    LOCAL6 = "local6"
    LOCAL7 = "local7"


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
        Option(
            'Where the log goes: "stderr", "stdout", "syslog", "journald", "topic" (below $SYS/broker/log), or paths '
            "of files. Several are allowed; none is silence. Files are opened anew on SIGHUP and SIGUSR1."
        ),
    ] = (LogStream.STDERR,)
    timestamps: Annotated[
        bool, Option("Whether each line begins with the time; a service manager that adds its own needs none.")
    ] = True
    timestamp_format: Annotated[str, Option("The time in a line, in the notation of strftime.")] = TIMESTAMP_FORMAT
    levels: Annotated[
        Mapping[str, LogLevel],
        Option("Levels of single loggers, by name.", example='{ "noctule.net" = "debug" }'),
    ] = field(default_factory=dict)
    max_lines_per_source: Annotated[
        int,
        Option(
            "Lines of one kind (the same but for what is filled in) in 10 s; what is beyond is counted, and told in "
            "one line. 0: any number. The level debug is not limited.",
            minimum=0,
        ),
    ] = 200
    syslog_facility: Annotated[SyslogFacility, Option("The part of the system that the messages come from.")] = (
        SyslogFacility.DAEMON
    )
    syslog_address: Annotated[
        str, Option('Where syslog takes messages: the path of its socket, or "HOST:PORT" for UDP.')
    ] = "/dev/log"
