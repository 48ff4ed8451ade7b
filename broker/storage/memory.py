"""The store that keeps nothing: for ``durability = "memory"``, at no cost."""

from collections.abc import Iterator, Sequence

from noctule.storage.operations import Operation


class MemoryStore:
    """What a broker without a store has in its place: everything is forgotten as it is said.

    The broker's own memory is the state; a second copy here would serve nobody.
    """

    __slots__ = ()

    #: As ``Store`` has them.
    is_durable = False
    is_low = False
    free_bytes: int | None = None

    def open(self) -> None:
        """Nothing to do."""

    def count_rows(self) -> int:
        """None are kept."""
        return 0

    def restore(self) -> Iterator[Operation]:
        """None are kept."""
        return iter(())

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """Forget them."""

    def idle(self) -> None:
        """Nothing to do."""

    def findings(self) -> Sequence[str]:
        """Nothing can be wrong."""
        return ()

    def close(self) -> None:
        """Nothing to do."""
