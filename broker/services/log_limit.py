"""A limit on lines of one kind, so that nobody fills the log by what causes them."""

import logging
from typing import Final

from noctule.services.log_file import LogFile

#: The time in which lines are counted.
INTERVAL_S: Final = 10.0

#: Kinds of lines that are counted each for itself; all others together.
KINDS_MAX: Final = 1_000

_Kind = tuple[str, int, str]
_OTHERS: Final[_Kind] = ("", 0, "")


class LineLimit:
    """Counts lines by kind: the same logger, level and text before anything is filled in.

    ``lines_max``: of one kind in an interval; 0: any number.
    """

    def __init__(self, lines_max: int) -> None:
        self._lines_max = lines_max
        self._counts: dict[_Kind, int] = {}
        self._ends_at = float("-inf")

    def take(self, record: logging.LogRecord) -> tuple[bool, list[logging.LogRecord]]:
        """Whether this record is logged, and what is to be logged before it of those that were not."""
        if not self._lines_max or record.levelno <= logging.DEBUG:
            return True, []
        summaries: list[logging.LogRecord] = []
        if not self._ends_at - INTERVAL_S <= record.created < self._ends_at:  # over, or the clock was set back
            summaries = [
                _summary(kind, count - self._lines_max)
                for kind, count in self._counts.items()
                if count > self._lines_max
            ]
            self._counts.clear()
            self._ends_at = record.created + INTERVAL_S
        kind: _Kind = (record.name, record.levelno, str(record.msg))
        if kind not in self._counts and len(self._counts) >= KINDS_MAX:
            kind = _OTHERS
        count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= self._lines_max, summaries


def _summary(kind: _Kind, count: int) -> logging.LogRecord:
    name, level, text = kind
    about = f": {text}" if text else " of many kinds"
    message = "%d more lines like this were not logged%s"
    return logging.LogRecord(name or "noctule", level or logging.WARNING, "", 0, message, (count, about), None)


class LimitedLog(logging.Handler):
    """Hands records on to other handlers, as far as the limit lets them."""

    def __init__(self, handlers: tuple[logging.Handler, ...], limit: LineLimit) -> None:
        super().__init__()
        self.handlers = handlers
        self._limit = limit

    def emit(self, record: logging.LogRecord) -> None:
        """Log the record everywhere, unless there are too many like it."""
        is_logged, summaries = self._limit.take(record)
        for one in (*summaries, *((record,) if is_logged else ())):
            for handler in self.handlers:
                if one.levelno >= handler.level:
                    handler.handle(one)

    def reopen(self) -> None:
        """Open files anew, where they are."""
        for handler in self.handlers:
            if isinstance(handler, LogFile):
                handler.reopen()

    def close(self) -> None:
        """Close what it hands on to."""
        for handler in self.handlers:
            handler.close()
        super().close()
