"""What a store is: the one protocol between the broker and whatever keeps its state."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from noctule.storage.operations import Operation


class StoreError(Exception):
    """The store cannot do its work; the text says what is wrong, with which file, and what the operator can do."""


class StoreFailedError(StoreError):
    """A commit has failed, and nobody knows what of it is on the disk: the store takes nothing more.

    It is never tried again: a page whose write has failed may be gone from the system's memory, and a second sync that
    succeeds would promise what is not there.
    """


class StoreFullError(StoreError):
    """There is no room. Nothing of the commit is kept, all that was there before is, and what drops rows may be
    committed still."""


class Store(Protocol):
    """Where state is kept. Called from worker threads, never two calls at once.

    ``open`` comes first, then ``restore`` once, to its end; from then on ``commit`` and ``idle``; ``close`` is last.
    """

    @property
    def is_durable(self) -> bool:
        """Whether anything is left after the process has ended. False: the broker does not wait for it."""
        ...

    def open(self) -> None:
        """Get ready: open files, check them, bring them to this version. StoreError where that cannot be."""
        ...

    def restore(self) -> Iterator[Operation]:
        """All that is kept, as the operations that would make it: first messages, then sessions, then the rest in
        any order, but what is queued by session and position. StoreError where it cannot be read."""
        ...

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """Make all of it so, or nothing of it, as if in this order.

        On return it survives a loss of power where ``sync`` is set, and the end of the process in any case.

        StoreFullError and StoreFailedError where it is not so; any other exception counts as the second.
        """
        ...

    def idle(self) -> None:
        """Nothing is to be committed for now: time for what is better not done under load. May never be called."""
        ...

    def close(self) -> None:
        """Let go of everything. Nothing is called afterwards."""
        ...
