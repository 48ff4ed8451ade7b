"""The group committer in front of the SQLite store, with a real disk and real threads."""

from collections.abc import Sequence
from pathlib import Path

import trio
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.storage.committer import Committer
from noctule.storage.operations import PutMessage, PutQueued, PutSession
from noctule.storage.store import StoreError, StoreFullError

PUBLISHERS = 8
MESSAGES = 40


class Waiters:
    """Lets each publisher wait for its ticket."""

    def __init__(self) -> None:
        self.done = 0
        self.commits = 0
        self._waiting: dict[int, trio.Event] = {}

    async def wait_for(self, ticket: int) -> None:
        if ticket > self.done:
            await self._waiting.setdefault(ticket, trio.Event()).wait()

    def committed(self, ticket: int) -> None:
        assert ticket > self.done
        self.done = ticket
        self.commits += 1
        for one in [one for one in self._waiting if one <= ticket]:
            self._waiting.pop(one).set()

    def refused(self, tickets: Sequence[int], error: StoreFullError) -> None:
        raise error

    def failed(self, error: StoreError) -> None:
        raise error


def test_what_is_acknowledged_is_there_after_a_restart(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    waiters = Waiters()

    async def publish(committer: Committer, publisher: int) -> None:
        committer.submit([PutSession(publisher + 1, f"c{publisher}", None, 60, None)], sync=True)
        for count in range(MESSAGES):
            number = publisher * MESSAGES + count + 1
            ticket = committer.submit(
                [
                    PutMessage(number, b"t", b"x" * 100, 1, False, b"", None),
                    PutQueued(publisher + 1, count, number, 1, 0, 0, False, b"", b""),
                ],
                sync=True,
            )
            await waiters.wait_for(ticket)
            acknowledged.add(number)

    async def main() -> None:
        store = SqliteStore(Config(path=tmp_path, reserve_bytes=0))
        store.open()
        assert list(store.restore()) == []
        committer = Committer(store, waiters)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(committer.run)
                async with trio.open_nursery() as publishers:
                    for publisher in range(PUBLISHERS):
                        publishers.start_soon(publish, committer, publisher)
                assert committer.waiting_operations == 0
                assert await committer.finish(10)

    trio.run(main)
    assert len(acknowledged) == PUBLISHERS * MESSAGES
    # Each message waits for the commit that runs when it comes, and for its own.
    assert waiters.commits <= 2 * MESSAGES + 2, "what came while a commit ran shared the next one"

    store = SqliteStore(Config(path=tmp_path, reserve_bytes=0))
    store.open()
    kept = {row.message_id for row in store.restore() if isinstance(row, PutQueued)}
    store.close()
    assert kept == acknowledged
