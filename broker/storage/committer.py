"""The group committer: what the broker has to keep, committed in a worker thread, as much at a time as has come.

There is no timer: whatever is submitted while a commit runs goes into the next one. So a lone message waits for one
commit, and the more come, the more share one.
"""

import logging
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

import trio
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropRetained,
    DropSession,
    DropSubscription,
    DropWill,
    Operation,
    PutMessage,
)
from noctule.storage.store import Store, StoreError, StoreFailedError, StoreFullError

#: What an operation costs in memory while it waits, beside its payload, in bytes: a tuple and its numbers.
OPERATION_BYTES: Final = 200

#: How long nothing has to be submitted before the store may do what it has put off, in seconds.
IDLE_AFTER_S: Final = 1.0

_DROPS: Final = frozenset(
    {DropMessage, DropQueued, DropReceived, DropRetained, DropSession, DropSubscription, DropWill}
)

_LOGGER: Final = logging.getLogger(__name__)


class CommitListener(Protocol):
    """Who is told what has become of what was submitted. Called in the trio thread, between other things: be quick."""

    def committed(self, ticket: int) -> None:
        """Everything up to this ticket is done: kept, but for what ``refused`` has named before."""
        ...

    def refused(self, tickets: Sequence[int], error: StoreFullError) -> None:
        """There is no room: nothing of these tickets is kept, and nothing of them may be acknowledged.

        What only drops rows is kept still. Whatever the broker has in memory that the store now lacks must be submitted
        again once there is room, or be given up.
        """
        ...

    def failed(self, error: StoreError) -> None:
        """The store has failed. What has not been committed never will be: nothing of it may be acknowledged."""
        ...


class _Entry(NamedTuple):
    ticket: int
    operations: Sequence[Operation]
    sync: bool


class Committer:
    """In front of a store that is open and restored. ``run`` is a task of its own; the rest is called beside it."""

    __slots__ = (
        "_begun_bytes",
        "_begun_operations",
        "_entries",
        "_has_ended",
        "_has_news",
        "_idle_after_s",
        "_is_finishing",
        "_limiter",
        "_listener",
        "_store",
        "_submitted_bytes",
        "_submitted_operations",
        "_ticket",
        "_wake",
        "failure",
        "is_full",
    )

    def __init__(self, store: Store, listener: CommitListener, *, idle_after_s: float = IDLE_AFTER_S) -> None:
        self._store = store
        self._listener = listener
        self._idle_after_s = idle_after_s
        # One call at a time, and none of the threads that other things wait for.
        self._limiter = trio.CapacityLimiter(1)
        self._entries: list[_Entry] = []
        self._ticket = 0
        self._submitted_operations = self._submitted_bytes = 0
        self._begun_operations = self._begun_bytes = 0
        self._wake = trio.Event()
        # Set as long as ``run`` does not run: ``finish`` then has to do its work.
        self._has_ended = trio.Event()
        self._has_ended.set()
        self._is_finishing = False
        self._has_news = False

        #: Why the store takes nothing more; None: it does.
        self.failure: StoreError | None = None

        #: Whether the last commit that puts rows found no room.
        self.is_full = False

    @property
    def waiting_operations(self) -> int:
        """How many operations are not committed yet."""
        return self._submitted_operations + self._begun_operations

    @property
    def waiting_bytes(self) -> int:
        """About how much memory they take: to stop reading from who submits more."""
        return self._submitted_bytes + self._begun_bytes

    @property
    def last_ticket(self) -> int:
        """The ticket that was given last; 0: none."""
        return self._ticket

    def submit(self, operations: Sequence[Operation], *, sync: bool) -> int:
        """Have these committed together, soon; their ticket comes back, one higher than the last.

        ``sync``: ``CommitListener.committed`` is called only when they survive a loss of power. The sequence must not
        be changed afterwards. StoreFailedError where the store has failed, or ``finish`` has been called.
        """
        if self.failure is not None:
            raise StoreFailedError(str(self.failure))
        if self._is_finishing:
            raise StoreFailedError("the store is being closed")
        self._ticket += 1
        size_bytes = OPERATION_BYTES * len(operations)
        for operation in operations:
            if operation.__class__ is PutMessage:
                size_bytes += len(operation[2])  # its payload; this runs per message
        self._submitted_operations += len(operations)
        self._submitted_bytes += size_bytes
        self._entries.append(_Entry(self._ticket, operations, sync))
        self._wake.set()
        return self._ticket

    def ask_for_idle(self) -> None:
        """Have the store do what it does when it is idle, once it is: it looks at its room then."""
        self._has_news = True
        self._wake.set()

    async def run(self) -> None:
        """Commit until ``finish`` is called; for a task of its own.

        Where it is cancelled, a commit that runs is left to itself, and the process may end in the middle of it: as
        after any crash, all or nothing of it is kept.
        """
        self._has_ended = trio.Event()
        try:
            while self.failure is None:
                if self._entries:
                    await self._commit_all()
                elif self._is_finishing:
                    break
                else:
                    await self._wait()
        finally:
            self._has_ended.set()

    async def finish(self, timeout_s: float) -> bool:
        """Commit everything that was submitted, close the store, and end ``run``; also while all is being cancelled.

        False where that took longer: then a worker thread still waits for the disk, and is left to itself.
        """
        self._is_finishing = True
        self._wake.set()
        with trio.move_on_after(timeout_s, shield=True) as scope:
            await self._has_ended.wait()
            # Where ``run`` was cancelled, what was submitted is committed here.
            while self._entries and self.failure is None:
                await self._commit_all()
            await self._in_thread(self._store.close)
            self._log_findings()
        return not scope.cancelled_caught

    async def _wait(self) -> None:
        """Wait for something to do, and give the store its time where there is nothing for a while."""
        self._wake = trio.Event()
        if self._has_news:
            with trio.move_on_after(self._idle_after_s):
                await self._wake.wait()
                return
            self._has_news = False
            try:
                await self._in_thread(self._store.idle)
            except Exception as error:
                self._fail(error)
            self._log_findings()
        else:
            await self._wake.wait()

    async def _commit_all(self) -> None:
        """One commit of everything that waits."""
        entries, self._entries = self._entries, []
        self._begun_operations, self._submitted_operations = self._submitted_operations, 0
        self._begun_bytes, self._submitted_bytes = self._submitted_bytes, 0
        self._has_news = True
        refused: list[int] = []
        try:
            await self._commit(entries)
            self.is_full = self.is_full and all(map(_only_drops, entries))
        except StoreFullError as error:
            self.is_full = True
            refused = await self._commit_drops(entries)
            if self.failure is None and refused:
                self._listener.refused(refused, error)
        except trio.Cancelled:
            # The commit has not begun, or is left to itself. ``finish`` does it again: that changes nothing, and it
            # waits for the one that still runs.
            self._entries[:0] = entries
            self._submitted_operations += self._begun_operations
            self._submitted_bytes += self._begun_bytes
            self._begun_operations = self._begun_bytes = 0
            raise
        except Exception as error:
            self._fail(error)
        self._begun_operations = self._begun_bytes = 0
        self._log_findings()
        if self.failure is None:
            self._listener.committed(entries[-1].ticket)

    async def _commit_drops(self, entries: Sequence[_Entry]) -> list[int]:
        """Commit what needs no room; the tickets of the rest come back."""
        drops = [entry for entry in entries if _only_drops(entry)]
        refused = [entry.ticket for entry in entries if not _only_drops(entry)]
        if not drops:
            return refused
        try:
            await self._commit(drops)
        except StoreFullError:
            return [entry.ticket for entry in entries]
        except Exception as error:
            self._fail(error)
        return refused

    async def _commit(self, entries: Sequence[_Entry]) -> None:
        operations = [operation for entry in entries for operation in entry.operations]
        sync = any(entry.sync for entry in entries)
        await self._in_thread(lambda: self._store.commit(operations, sync=sync))

    async def _in_thread(self, call: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(call, limiter=self._limiter, abandon_on_cancel=True)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, StoreError):
            _LOGGER.error("The store has raised what it should not.", exc_info=error)
            error = StoreFailedError(f"the store has failed: {error!r}")
        self.failure = error
        self._entries.clear()
        self._submitted_operations = self._submitted_bytes = 0
        self._listener.failed(error)

    def _log_findings(self) -> None:
        for line in self._store.findings():
            _LOGGER.warning("Store: %s.", line)


def _only_drops(entry: _Entry) -> bool:
    return all(operation.__class__ in _DROPS for operation in entry.operations)
