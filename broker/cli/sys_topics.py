"""What a broker says of itself below ``$SYS/broker``, by Mosquitto's names; each of it may be missing."""

from dataclasses import dataclass, field
from typing import Final

PREFIX: Final = "$SYS/broker/"
FILTER: Final = f"{PREFIX}#"

#: Counters that only grow, and so have a rate.
_COUNTERS: Final = frozenset(
    {
        "messages/received",
        "messages/sent",
        "publish/messages/received",
        "publish/messages/sent",
        "publish/messages/dropped",
        "bytes/received",
        "bytes/sent",
    }
)


@dataclass(slots=True)
class SysTopics:
    """The last value of each topic, and how fast the counters grow."""

    values: dict[str, str] = field(default_factory=dict)
    _history: dict[str, tuple[float, float]] = field(default_factory=dict)
    _rates: dict[str, float] = field(default_factory=dict)

    def take(self, topic: str, payload: bytes, at_s: float, is_retained: bool = False) -> None:
        """A message has come, at this time. What is no number is kept as text.

        A retained value may be of any age: it is shown, and says nothing about how fast a counter grows.
        """
        name = topic.removeprefix(PREFIX)
        self.values[name] = payload.decode(errors="replace").strip()
        value = self.number(name)
        if name not in _COUNTERS or value is None:
            return
        before = self._history.get(name)
        if before is not None and at_s > before[0]:
            # A broker that has started anew counts from 0 again.
            self._rates[name] = max(value - before[1], 0.0) / (at_s - before[0])
        if not is_retained:
            self._history[name] = (at_s, value)

    def number(self, *names: str) -> float | None:
        """The value of the first of these topics that has a number; None where none has."""
        for name in names:
            words = self.values.get(name, "").split()
            try:
                return float(words[0])
            except (ValueError, IndexError):
                continue
        return None

    def rate(self, name: str) -> float | None:
        """How much a counter grows in a second: by what came in the last seconds, else by the broker's own minute."""
        own = self._rates.get(name)
        if own is not None:
            return own
        load = self.number(f"load/{name.replace('publish/messages', 'publish')}/1min")
        return None if load is None else load / 60
