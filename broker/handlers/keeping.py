"""Between the journal and the store: hands over what has been collected, and lets go what waited for it."""

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import trio
from noctule._speedups.journal import Journal
from noctule._speedups.link import ENDING, Link
from noctule.core.state import State
from noctule.handlers.connection import end_connection, last_packet
from noctule.handlers.decisions import Turns
from noctule.protocol.reason_codes import ReasonCode
from noctule.storage import operations as kept
from noctule.storage.committer import Committer
from noctule.storage.restoring import Restored, restore
from noctule.storage.store import Store, StoreError, StoreFullError

#: How long a store without room is left alone before what waits is tried again.
_FULL_RETRY_S: Final = 1.0

_LOGGER: Final = logging.getLogger("noctule.storage")

_KINDS: Final = {
    kind.__name__: kind
    for kind in (
        kept.PutMessage,
        kept.DropMessage,
        kept.PutSession,
        kept.DropSession,
        kept.PutSubscription,
        kept.DropSubscription,
        kept.PutQueued,
        kept.DropQueued,
        kept.PutReceived,
        kept.DropReceived,
        kept.PutRetained,
        kept.DropRetained,
        kept.PutWill,
        kept.DropWill,
    )
}


async def open_store(store: Store, state: State, turns: Turns) -> "Keeping":
    """Open a store and build the state of the broker, which does not run yet, from what is kept in it.

    StoreError where it cannot be opened or read.
    """
    started_at = trio.current_time()
    ahead_s = time.time() - started_at
    state.plane.begin_turn(started_at)
    keeping = Keeping(state, store, turns)
    keeping.journal.wall_clock_ahead_s = ahead_s

    def read() -> Restored:
        store.open()
        total = store.count_rows()

        def progress(count: int) -> None:
            _LOGGER.info("Restoring: %d of about %d rows", count, total)

        return restore(store.restore(), state, ahead_s, progress)

    try:
        restored = await trio.to_thread.run_sync(read)
    except BaseException:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(store.close)
        raise
    finally:
        for line in store.findings():
            _LOGGER.warning("Store: %s.", line)
    for problem in restored.problems:
        _LOGGER.error("Store: %s.", problem)
    if restored.sessions or restored.retained:
        _LOGGER.info(
            "Restored %d sessions with %d subscriptions and %d messages that wait, and %d retained messages, in %.1f s",
            restored.sessions,
            restored.subscriptions,
            restored.queued,
            restored.retained,
            trio.current_time() - started_at,
        )
    return keeping


class Keeping:
    """Keeps the state of one broker in a store that is open and restored.

    One batch is on its way at a time; what comes meanwhile is the next. ``end_turn_soon`` is called when there is
    something to hand over and the data plane should let the other tasks run.
    """

    def __init__(self, state: State, store: Store, turns: Turns) -> None:
        self._state = state
        self._store = store
        self._turns = turns
        self._committer = Committer(store, self)
        self._batch: list[kept.Operation] = []
        self._must_sync = False
        self._ticket = 0
        self._wake = trio.Event()
        self._is_done = trio.Event()
        self._nursery: trio.Nursery | None = None
        self._is_finishing = False

        #: Whether the batch under way has been refused, and whether a look at the room is due.
        self._was_refused = self._will_try = False
        self.end_turn_soon: Callable[[], object] = lambda: None
        #: Whether a batch is on its way: its end must not wait for a turn that lingers.
        self.is_committing = False
        self.journal = Journal(_KINDS, self._has_something)
        state.plane.journal = self.journal

    @property
    def failure(self) -> StoreError | None:
        """Why nothing is kept any more; None: it is."""
        return self._committer.failure

    def _has_something(self) -> None:
        """The journal has the first operation of a batch."""
        if not self.is_committing:
            self._wake.set()
            self.end_turn_soon()

    async def run(self) -> None:
        """Hand over what the journal collects, until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._committer.run)
                self._look_at_room()
                if not self.journal.takes_messages:
                    self._log_room()
                while True:
                    await self._wake.wait()
                    self._wake = trio.Event()
                    if not self.is_committing:
                        self._hand_over()
        finally:
            self._nursery = None

    def _hand_over(self, *, even_nothing: bool = False) -> None:
        """Have what has been collected committed."""
        if (not len(self.journal) and not even_nothing) or self._committer.failure is not None or self._is_finishing:
            return
        self.is_committing = True
        # As it is now: the wall clock may have been set since the start.
        self.journal.wall_clock_ahead_s = time.time() - trio.current_time()
        self._ticket, self._batch, self._must_sync = self.journal.take()
        self._committer.submit(self._batch, sync=self._must_sync)

    def committed(self, ticket: int) -> None:
        """A batch is kept, or has been refused before: what waited for it goes out, and the next is handed over."""
        del ticket
        self.is_committing = False
        if self._was_refused or self.journal.has_failed:
            self._was_refused = False
            self._is_done.set()
            return
        self._batch = []
        was_usable, took_messages = self.journal.is_usable, self.journal.takes_messages
        self.journal.commit_done(self._ticket)
        self._look_at_room()
        self._turns.begin_turn()
        self._state.plane.let_go()
        self._unstall()
        if self.journal.takes_messages is not took_messages:
            self._log_room()
        if not was_usable:
            for link in list(self._state.links):
                _guard(link, link.output_sent)  # what could not be begun goes out now
        self._turns.end_turn()
        self._hand_over()
        if not self.is_committing:
            self._is_done.set()

    def _unstall(self) -> None:
        """Let those go on who had to wait until less waits for the store."""
        for link in self._state.plane.take_stalled():
            _guard(link, link.unstall)

    def _look_at_room(self) -> None:
        """Take no messages in while little room is left."""
        if self._store.is_low:
            self.journal.run_short()
            self._try_later()

    def _log_room(self) -> None:
        """There is room again, or little is left."""
        if self.journal.takes_messages:
            _LOGGER.warning("There is room in the store again; messages of QoS 1 and 2 are accepted.")
        else:
            _LOGGER.error("Room runs short in the store: messages of QoS 1 and 2 are refused until there is more.")

    def refused(self, tickets: Sequence[int], error: StoreFullError) -> None:
        """There is no room: what was refused is tried again later, together with all that comes until then."""
        del tickets
        if self.journal.takes_messages:
            _LOGGER.error("%s: messages of QoS 1 and 2 are refused until there is room.", error)
        self.journal.put_back(self._batch, self._must_sync)
        self._batch = []
        self._was_refused = True
        self._try_later()

    def _try_later(self) -> None:
        """Look in a while whether there is room, also where nobody has anything to be kept."""
        if self._nursery is not None and not self._will_try:
            self._will_try = True
            self._nursery.start_soon(self._try_again)

    async def _try_again(self) -> None:
        await trio.sleep(_FULL_RETRY_S)
        self._will_try = False
        if not self.is_committing and not self.journal.takes_messages:
            self._hand_over(even_nothing=True)

    def failed(self, error: StoreError) -> None:
        """Nothing is kept any more: whoever waits for that is told that it is not, and QoS 0 goes on."""
        _LOGGER.critical("%s: messages of QoS 1 and 2 are refused until the broker is started again.", error)
        self.is_committing = False
        self._is_done.set()
        self.journal.fail()
        self._turns.begin_turn()
        self._unstall()
        for link in self._state.plane.take_held_back():
            if isinstance(link, Link) and link.state < ENDING:
                _guard(link, partial(self._end_unkept, link))
        self._turns.end_turn()

    def _end_unkept(self, link: Link) -> None:
        """What it waits for will never be kept: tell the client, as far as that can be done."""
        link.forget_held_back()
        packet = last_packet(link, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "the store has failed")
        end_connection(self._state, link, packet, reason="the store has failed")

    async def finish(self, timeout_s: float) -> None:
        """Commit what is left and close the store."""
        self._is_done = trio.Event()
        if not self.is_committing:
            self._hand_over()
        elif self._nursery is None and len(self.journal):
            # ``run`` was cancelled with a batch on its way: the committer does that again, and this behind it.
            self._ticket, operations, self._must_sync = self.journal.take()
            self._committer.submit(operations, sync=self._must_sync)
        if self.is_committing and self._nursery is not None:
            with trio.move_on_after(timeout_s, shield=True):
                await self._is_done.wait()
        self._is_finishing = True
        if not await self._committer.finish(timeout_s):
            _LOGGER.error("The store did not finish in %g s; what was not acknowledged may be lost.", timeout_s)


def _guard(link: Link, call: Callable[[], object]) -> None:
    """Call it; an error of ours ends that connection and no other."""
    try:
        call()
    except Exception:
        _LOGGER.exception("An error of the broker's; it closes the connection of %s", link.peer)
        link.lose("an error of the broker's")
