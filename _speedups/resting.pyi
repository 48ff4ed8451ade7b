"""Resting: whether rounds of the reactor shall wait for events to come together."""

class Resting:
    """What one reactor has seen of late. Begins without rests."""

    is_on: bool
    def after(self, events: int, is_late: bool, now_s: float) -> bool:
        """A round with so many events, ``is_late`` after the one before; the clock stands at ``now_s``: ``is_on``."""
    def forget(self) -> None:
        """Nothing can rest for now: what was seen is forgotten."""
