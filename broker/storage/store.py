"""What a store is: the one protocol between the broker and whatever keeps its state."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
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
    """Where state is kept. Called from worker threads, never two calls at once; the properties from any thread.

    ``open`` comes first, then ``restore`` once, to its end; from then on ``commit`` and ``idle``; ``close`` is last,
    after a failed ``open`` too.
    """

    @property
    def is_durable(self) -> bool:
        """Whether anything is left after the process has ended. False: the broker does not wait for it."""
        ...

    @property
    def is_low(self) -> bool:
        """Whether room runs short: the broker takes no new messages before there is none for them.

        As of the last ``commit`` or ``idle``, so it costs nothing to ask.
        """
        ...

    @property
    def free_bytes(self) -> int | None:
        """The room that is left, as of the last ``commit`` or ``idle``; None: nobody knows, or there is no limit."""
        ...

    def open(self) -> None:
        """Get ready: open files, check them, bring them to this version. StoreError where that cannot be."""
        ...

    def count_rows(self) -> int:
        """How many operations ``restore`` will yield, about: to show how far it is."""
        ...

    def restore(self) -> Iterator[Operation]:
        """All that is kept, as the operations that would make it: first messages, then sessions, then the rest in
        any order, but what is queued by session and position. StoreError where it cannot be read.

        What refers to a message or session that is not there is left out, and ``findings`` says so.
        """
        ...

    def commit(self, operations: Sequence[Operation], *, sync: bool) -> None:
        """Make all of it so, or nothing of it, as if in this order.

        On return it survives a loss of power where ``sync`` is set, and the end of the process in any case. So does
        what was committed before without ``sync``.

        StoreFullError and StoreFailedError where it is not so; any other exception counts as the second.
        """
        ...

    def idle(self) -> None:
        """Nothing is to be committed for now: time for what is better not done under load. May never be called.

        StoreFailedError where that has broken the store.
        """
        ...

    def findings(self) -> Sequence[str]:
        """What has been found wrong, and what was done about it, since this was last asked: lines for the log.

        Asked after ``open``, ``restore``, ``idle`` and ``close``.
        """
        ...

    def close(self) -> None:
        """Let go of everything. Nothing is called afterwards but ``findings``."""
        ...


class StoreReader(Protocol):
    """A look at what a store keeps, while a broker uses it or not: what ``noctule store`` works with.

    It changes nothing, and what it sees is the state at one moment.
    """

    def check(self) -> Sequence[str]:
        """Everything that is wrong, a line each; nothing: all is well."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Figures by name: rows, bytes."""
        ...

    def rows(self) -> Iterator[Operation]:
        """As ``Store.restore``. StoreError at a row that cannot be read."""
        ...

    def back_up(self, target: Path) -> None:
        """Copy the state to ``target``, which the store can use in place of its own. StoreError where that fails."""
        ...

    def close(self) -> None:
        """Let go of everything."""
        ...
