"""Resting: whether rounds of the reactor shall wait for events to come together."""

class Resting:
    """What one reactor has seen of late. Begins without rests."""

    is_on: bool
    def after(self, events: int, is_late: bool, now_s: float) -> bool:
        """A round with so many events, ``is_late`` after the one before; the clock stands at ``now_s``.

        Whether events come often and one by one, so that rests are worth it.
        """
    def hear_from(self, is_stranger: bool) -> bool:
        """Something has come, from a stranger or not: whether nearly all are strangers."""
    def forget(self) -> None:
        """Somebody else waits for the thread: what was seen is forgotten."""
