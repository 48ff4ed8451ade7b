"""One heap for everything that waits for a time: connections that must speak, sessions that expire."""

from collections.abc import Callable

class Timed:
    """What can wait in Deadlines, for one deadline at a time."""

    deadline: float
    @property
    def scheduled(self) -> bool:
        """Whether it waits for its deadline."""

class Alarm(Timed):
    """A function to be called at a deadline."""

    call: Callable[[], object]
    def __init__(self, call: Callable[[], object]) -> None: ...

class Deadlines:
    """A binary heap of Timed objects by deadline, in seconds on the broker's clock."""

    def __len__(self) -> int: ...
    def clear(self) -> None:
        """Forget every deadline."""
    def schedule(self, item: Timed, deadline: float) -> None:
        """Wait with ``item`` until ``deadline``, in place of the deadline that it has."""
    def cancel(self, item: Timed) -> None:
        """Forget the item's deadline, if it has one."""
    def next_deadline(self) -> float:
        """The earliest deadline; infinity where nothing waits."""
    def take_due(self, now: float) -> list[Timed]:
        """Remove what is due at ``now``, earliest first, and give it back as a list."""
