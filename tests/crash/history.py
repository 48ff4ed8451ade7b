"""A history of commits that is the same each time, and the process that writes it to a store.

As a script: ``history.py DIRECTORY SYNCS COMMITS [FIRST]``, where SYNCS is a text of 1 and 0, repeated: whether
each commit is synced. After each commit its number is written to the file ``acked``, as an acknowledgement would be.
"""

import os
import sys
from pathlib import Path

from noctule.plugins.sqlite_store import Config, OnCorrupt, SqliteStore
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropSession,
    DropWill,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.storage.store import StoreError, StoreFailedError, StoreFullError

SESSIONS = 5

#: Every so many commits there are this many messages more, which the store keeps as segments.
MANY_EVERY = 3
MANY = 16

#: So small that what is left of segments is moved in commits.
GONE_BYTES_MAX = 0

#: The numbers of the messages of a commit, and their positions, begin here for each commit.
STEP = 100


def commit(number: int) -> list[Operation]:
    """What the commit of a number (from 1) holds; every reference in it and after it holds."""
    owner = number % SESSIONS + 1
    operations: list[Operation] = []
    if number <= SESSIONS:
        operations += [
            PutSession(owner, f"client{owner}", None if owner % 2 else "owner", 3600, None),
            PutSubscription(owner, b"a/+", b"", 1, 0, 0),
            PutWill(owner, b"will", b"gone", 1, False, b"", 0, None, None),
        ]
    payload = bytes([number % 256]) * (number * 37 % 2500)
    key = number * STEP
    operations += [
        PutMessage(key, b"a/%d" % (number % 7), payload, 1, False, b"", None),
        PutQueued(owner, key, key, 1, 0, number % 65_536, False, b"", b""),
        PutReceived(owner, number % 65_535 + 1, key),
        PutRetained(b"a/%d" % (number % 7), key),
        *_many(number),
    ]
    if (old := number - 12) > 0:
        was_owner = old % SESSIONS + 1
        operations += [
            DropQueued(was_owner, old * STEP),
            DropReceived(was_owner, old % 65_535 + 1),
            DropMessage(old * STEP),
        ]
    if number % 20 == 0:
        operations += [
            DropWill(owner),
            DropSession(owner),
            PutSession(owner, f"again{number}", None, 0, 1e9 + number),
        ]
    return operations


def _many(number: int) -> list[Operation]:
    """Messages for several sessions. Of those of earlier commits some are put again, most dropped, then the rest."""
    operations: list[Operation] = []
    if number % MANY_EVERY == 0:
        keys = [number * STEP + count for count in range(1, MANY + 1)]
        operations += [PutMessage(key, b"many", b"%d" % key * 30, 1, False, b"", None) for key in keys]
        operations += [_waiting(key) for key in keys]
    if (old := number - 6) > 0 and old % MANY_EVERY == 0:
        for key in (old * STEP + 2, old * STEP + MANY):
            operations.append(_waiting(key)._replace(qos=2, packet_id=9))
    if (old := number - 12) > 0 and old % MANY_EVERY == 0:
        operations += _done(old, range(1, MANY - 2 if old % 2 else MANY + 1))
    if (old := number - 36) > 0 and old % MANY_EVERY == 0 and old % 2:
        operations += _done(old, range(MANY - 2, MANY + 1))
    return operations


def _waiting(key: int) -> PutQueued:
    return PutQueued(key % SESSIONS + 1, key, key, 1, 0, 0, False, b"", b"")


def _done(number: int, counts: range) -> list[Operation]:
    keys = [number * STEP + count for count in counts]
    done: list[Operation] = [DropQueued(key % SESSIONS + 1, key) for key in keys]
    return done + [DropMessage(key) for key in keys]


def main(directory: str, syncs: str, commits: str, first: str = "1") -> int:
    """Write the history. 0: to its end; 3: the store refused to open; 4: it failed; 5: it failed and took
    more; 6: it was full."""
    acked = os.open(Path(directory) / "acked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    config = Config(
        path=Path(directory), checkpoint_bytes=65_536, reserve_bytes=0, low_disk_bytes=0, on_corrupt=OnCorrupt.REFUSE
    )
    store = SqliteStore(config, gone_bytes_max=GONE_BYTES_MAX)
    try:
        store.open()
        for _ in store.restore():
            pass
    except StoreError as error:
        print(error, file=sys.stderr)
        os.close(acked)
        return 3
    code = 0
    for number in range(int(first), int(commits) + 1):
        try:
            store.commit(commit(number), sync=syncs[number % len(syncs)] == "1")
        except StoreFullError as error:
            print(error, file=sys.stderr)
            code = 6
            break
        except StoreFailedError as error:
            print(error, file=sys.stderr)
            try:
                store.commit([DropMessage(0)], sync=True)
            except StoreFailedError:
                code = 4
            else:
                code = 5
            break
        os.write(acked, b"%d\n" % number)
        if number % 15 == 0:
            try:
                store.idle()
            except StoreFailedError:
                code = 4
                break
    store.close()
    os.close(acked)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
