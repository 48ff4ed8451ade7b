"""A plugin that counts every message that is published, to see what watching costs."""

from noctule.api import Message, hookimpl


class Plugin:
    """Answers ``message_published``."""

    def __init__(self) -> None:
        self._messages = 0
        self._bytes = 0

    @hookimpl
    def message_published(self, message: Message) -> None:
        """Count it."""
        self._messages += 1
        self._bytes += len(message.payload)
