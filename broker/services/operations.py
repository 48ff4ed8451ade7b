"""What runs beside the connections of one broker for those who operate it: $SYS, the log as messages, HTTP."""

import logging
from collections.abc import Callable

import trio
from noctule._speedups.message import Message
from noctule.config.log import LogStream
from noctule.handlers.decisions import Turns
from noctule.handlers.means import Means
from noctule.hooks.metrics import Metrics
from noctule.services.api.view import View
from noctule.services.http import HttpServer
from noctule.services.log_topics import LogTopics
from noctule.services.readings import Observer
from noctule.services.site import Site
from noctule.services.sys_topics import SysTopics


class Operations:
    """The services of one broker that runs; made within ``trio.run``."""

    def __init__(self, means: Means, turns: Turns, metrics: Metrics, urls: Callable[[], tuple[str, ...]]) -> None:
        self._state = means.state
        self._turns = turns
        self._log_topics: LogTopics | None = None
        self._logging: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self.observer = Observer(means.state)
        self.sys_topics = SysTopics(means.state, turns, self.observer)
        site = Site(View(means, self.observer, self.sys_topics, metrics, urls))
        #: Serves connections to the HTTP port.
        self.http = HttpServer(site.answer, lambda: self._state.settings.http.max_connections)

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.sys_topics.run)
                self._log_as_messages()
        finally:
            self._nursery = None
            self._stop_logging()

    def settings_changed(self) -> None:
        """Other settings are in effect."""
        self.sys_topics.settings_changed()
        self._log_as_messages()

    def _log_as_messages(self) -> None:
        """Publish the log, where the settings say so."""
        self._stop_logging()
        settings = self._state.settings.log
        if self._nursery is None or LogStream.TOPIC not in settings.destinations:
            return
        self._log_topics = LogTopics(settings)
        self._logging = trio.CancelScope()
        logging.getLogger().addHandler(self._log_topics)
        self._nursery.start_soon(self._publish_log, self._log_topics, self._logging)

    async def _publish_log(self, topics: LogTopics, scope: trio.CancelScope) -> None:
        with scope:
            await topics.run(self._publish)

    def _publish(self, topic: str, text: str) -> None:
        """Publish a line of the log: it is for who listens now, and is not kept."""
        self._turns.begin_turn()
        message = Message(topic.encode(), text.encode(errors="backslashreplace"), 0, False, b"", self._state.plane.now)
        self._state.router.publish_message(message)
        self._turns.end_turn()

    def _stop_logging(self) -> None:
        if self._log_topics is not None:
            logging.getLogger().removeHandler(self._log_topics)
            self._log_topics.close()
            self._log_topics = None
        if self._logging is not None:
            self._logging.cancel()
            self._logging = None
