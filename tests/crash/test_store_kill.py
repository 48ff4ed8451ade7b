"""A process that commits is killed, again and again; the next one goes on from what it finds.

NOCTULE_KILLS is how many times, for more than the few of every run.
"""

import os
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from crash import history
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.storage.operations import Operation
from noctule.testing.store_contract import Model

KILLS = int(os.environ.get("NOCTULE_KILLS", "6"))
ENDLESS = "1000000"


def restored(directory: Path) -> dict[object, Operation]:
    store = SqliteStore(Config(path=directory, reserve_bytes=0))
    store.open()
    model = Model()
    try:
        model.apply(store.restore())
        # The kill may have come between the two writes of a transaction's last page: that is told, and nothing else.
        assert [line for line in store.findings() if "were written whole" not in line] == []
    finally:
        store.close()
    return dict(model.rows)


@pytest.mark.parametrize("syncs", ["1", "0", "01"])
def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path, syncs: str) -> None:
    directory = tmp_path / "store"
    directory.mkdir()
    pipe = directory / "acked"
    os.mkfifo(pipe)
    chance = Random(syncs)
    model, at = Model(), 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            [sys.executable, history.__file__, directory, syncs, ENDLESS, str(at + 1)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process, pipe.open() as acked:
            goal = at + chance.randrange(1, 120)
            last = at
            for line in acked:
                last = int(line)
                if last >= goal:
                    process.kill()
                    break
            rest = acked.read().split()  # what it had said before the kill took effect
            last = int(rest[-1]) if rest else last
        assert process.returncode == -9
        assert last >= goal

        found = restored(directory)
        for number in range(at + 1, last + 1):
            model.apply(history.commit(number))
        model.restart()
        if found != model.rows:
            last += 1  # it was killed between the commit and saying so
            model.apply(history.commit(last))
            model.restart()
        assert found == model.rows
        at = last
