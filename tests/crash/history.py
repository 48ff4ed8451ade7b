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
    operations += [
        PutMessage(number, b"a/%d" % (number % 7), payload, 1, False, b"", None),
        PutQueued(owner, number, number, 1, 0, number, False, b"", b""),
        PutReceived(owner, number % 65_535 + 1, number),
        PutRetained(b"a/%d" % (number % 7), number),
    ]
    if (old := number - 12) > 0:
        was_owner = old % SESSIONS + 1
        operations += [
            DropQueued(was_owner, old),
            DropReceived(was_owner, old % 65_535 + 1),
            DropMessage(old),
        ]
    if number % 20 == 0:
        operations += [
            DropWill(owner),
            DropSession(owner),
            PutSession(owner, f"again{number}", None, 0, 1e9 + number),
        ]
    return operations


def main(directory: str, syncs: str, commits: str, first: str = "1") -> int:
    """Write the history. 0: to its end; 3: the store refused to open; 4: it failed; 5: it failed and took
    more; 6: it was full."""
    acked = os.open(Path(directory) / "acked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    config = Config(
        path=Path(directory), checkpoint_bytes=65_536, reserve_bytes=0, low_disk_bytes=0, on_corrupt=OnCorrupt.REFUSE
    )
    store = SqliteStore(config)
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
