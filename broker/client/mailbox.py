"""Where messages wait for whoever takes them."""

from collections import deque
from typing import Final

from noctule.client.incoming import Arrival
from trio.lowlevel import ParkingLot

#: How many messages are held for a caller who does not take them; past it reading stops, and TCP slows the server.
MESSAGE_BUFFER: Final = 1_000

#: How many are held at the very most. Reading goes on past the limit above while a caller waits for an answer of the
#: server's, since that stands behind the messages; a server that sends nothing but messages must not fill the memory.
MESSAGE_BUFFER_MAXIMUM: Final = 16_000


class Mailbox:
    """A row of messages, in the order of arrival."""

    def __init__(self) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._lot = ParkingLot()

    def __len__(self) -> int:
        return len(self._arrivals)

    @property
    def is_full(self) -> bool:
        """Whether no more should be read before somebody takes one."""
        return len(self._arrivals) >= MESSAGE_BUFFER

    @property
    def is_overfull(self) -> bool:
        """Whether no more may be read, whoever waits."""
        return len(self._arrivals) >= MESSAGE_BUFFER_MAXIMUM

    def put(self, arrival: Arrival) -> None:
        """One more."""
        self._arrivals.append(arrival)
        self._lot.unpark()

    def pop(self) -> Arrival | None:
        """The first one; None if there is none."""
        return self._arrivals.popleft() if self._arrivals else None

    def wake_all(self) -> None:
        """Let everybody look whether something else has happened."""
        self._lot.unpark_all()

    async def changed(self) -> None:
        """Return when there may be a message."""
        await self._lot.park()
