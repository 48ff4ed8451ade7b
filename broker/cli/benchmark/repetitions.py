"""Whether a delivery is the first of its message, by the sequence numbers of publishers."""

from typing import Final

#: Of a message that a group shares: after how many further ones of its publisher it is taken for a new one.
_REMEMBERED: Final = 65_536


class Repetitions:
    """Remembers what has been delivered.

    A subscriber gets the messages of a publisher in their order, so that one number is enough; a group that shares them
    gets each once, in any order.
    """

    def __init__(self, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._next: dict[tuple[int, int], int] = {}
        self._seen: dict[int, set[int]] = {}
        self._greatest: dict[int, int] = {}

    def is_first(self, subscriber: int, publisher: int, sequence: int) -> bool:
        """Whether it has not been delivered before: to this subscriber, or to any where they share."""
        if not self._is_shared:
            key = (subscriber, publisher)
            if sequence < self._next.get(key, 0):
                return False
            self._next[key] = sequence + 1
            return True
        seen = self._seen.setdefault(publisher, set())
        if sequence in seen:
            return False
        seen.add(sequence)
        greatest = self._greatest.get(publisher, -1)
        if sequence > greatest:
            for old in range(greatest - _REMEMBERED + 1, sequence - _REMEMBERED + 1):
                seen.discard(old)
            self._greatest[publisher] = sequence
        return True
