"""One log line in a while where there are as many retained messages as there may be."""

from typing import Final

from noctule.core.state import State

_INTERVAL_S: Final = 60.0


class RetainedLimitLog:
    """Called with the topic of each message that is not retained for that reason."""

    def __init__(self, state: State) -> None:
        self._logger = state.logger
        self._plane = state.plane
        self._quiet_until = float("-inf")

    def __call__(self, topic: bytes) -> None:
        """Say it, unless it was said a moment ago."""
        now = self._plane.now
        if now < self._quiet_until:
            return
        self._quiet_until = now + _INTERVAL_S
        self._logger.warning(
            "There are as many retained messages as there may be (limits.max_retained_messages): that of %s is not "
            "retained. Others are not told of for a minute.",
            ascii(topic.decode(errors="replace"))[1:-1],
        )
