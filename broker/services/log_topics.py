"""The log as messages: ``$SYS/broker/log/E``, ``W``, ``N``, ``I`` and ``D``."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

import trio
from noctule.config.log import LogSettings
from noctule.services.log_format import formatter_of

TOPIC: Final = "$SYS/broker/log/"

#: Lines that wait to be published; the oldest go first.
_WAITING_MAX: Final = 1_000

#: Lines in a second, and in one go before others get their turn.
LINES_PER_SECOND_MAX: Final = 100

#: Published is at most the beginning of a line.
_TEXT_MAX: Final = 4_096


def letter_of(level: int) -> str:
    """The last level of the topic, as Mosquitto has it. Nothing of ours is a notice; a plugin's level 25 is."""
    if level >= logging.ERROR:
        return "E"
    if level >= logging.WARNING:
        return "W"
    if level > logging.INFO:
        return "N"
    return "I" if level == logging.INFO else "D"


class LogTopics(logging.Handler):
    """Collects lines, from any thread, and publishes them by ``run``.

    What is logged while a line is published is not published: it would bring forth itself.
    """

    def __init__(self, settings: LogSettings) -> None:
        super().__init__()
        self.setFormatter(formatter_of(settings))
        self._waiting: deque[tuple[str, str]] = deque()
        self._wake = trio.Event()
        self._token: trio.lowlevel.TrioToken | None = None
        self._publishing_thread: int | None = None
        self.lost_count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Collect the record."""
        if self._publishing_thread == threading.get_ident():
            return
        try:
            line = self.format(record)[:_TEXT_MAX]
        except Exception:
            self.lost_count += 1
            return
        if len(self._waiting) >= _WAITING_MAX:
            self._waiting.popleft()
            self.lost_count += 1
        self._waiting.append((letter_of(record.levelno), line))
        token = self._token
        if token is not None:
            try:
                token.run_sync_soon(self._wake.set, idempotent=False)
            except trio.RunFinishedError:
                self._token = None

    async def run(self, publish: Callable[[str, str], object]) -> None:
        """Publish (topic, text) what is collected, at a limited rate, until cancelled."""
        self._token = trio.lowlevel.current_trio_token()
        try:
            while True:
                if not self._waiting:
                    await self._wake.wait()
                    self._wake = trio.Event()
                count = min(len(self._waiting), LINES_PER_SECOND_MAX)
                for _ in range(count):
                    letter, line = self._waiting.popleft()
                    self._publish(publish, TOPIC + letter, line)
                await trio.sleep(count / LINES_PER_SECOND_MAX)
        finally:
            self._token = None

    def _publish(self, publish: Callable[[str, str], object], topic: str, line: str) -> None:
        self._publishing_thread = threading.get_ident()
        try:
            publish(topic, line)
        except Exception:
            self.lost_count += 1
        finally:
            self._publishing_thread = None
