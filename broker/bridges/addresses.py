"""Which of several addresses a bridge connects to next."""


class AddressChoice:
    """Addresses by number, the first being 0."""

    def __init__(self, count: int, *, is_round_robin: bool) -> None:
        self._count = count
        self._is_round_robin = is_round_robin
        self._failures = 0
        #: The one to connect to.
        self.current = 0

    @property
    def returns_to_first(self) -> bool:
        """Whether the first one is to be tried while this one is connected."""
        return not self._is_round_robin and self.current != 0

    def failed(self) -> bool:
        """It could not be reached: the next one's turn. Whether all have failed, and it is time to rest."""
        self._failures += 1
        self.current = (self.current + 1) % self._count
        if self._failures < self._count:
            return False
        self._failures = 0
        if not self._is_round_robin:
            self.current = 0
        return True

    def connected(self) -> None:
        """It was reached."""
        self._failures = 0

    def lost(self) -> None:
        """The connection to it has ended: the next one's turn, or the first one's where that is preferred."""
        self.current = (self.current + 1) % self._count if self._is_round_robin else 0
