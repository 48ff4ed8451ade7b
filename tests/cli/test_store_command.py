"""``noctule store``: what it prints, its exit codes, and that it leaves a broker that runs alone."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from noctule.cli.main import main
from noctule.plugins.sqlite_store import Config, SqliteStore
from noctule.storage.operations import Operation, PutRetained
from noctule.testing.store_contract import FULL, MESSAGE


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def running(directory: Path) -> Iterator[SqliteStore]:
    """A store that a broker uses."""
    store = SqliteStore(Config(path=directory, reserve_bytes=0))
    store.open()
    list(store.restore())
    store.commit(FULL, sync=True)
    yield store
    store.close()


def restored(directory: Path) -> set[Operation]:
    store = SqliteStore(Config(path=directory, reserve_bytes=0))
    store.open()
    try:
        return set(store.restore())
    finally:
        store.close()


def test_check_of_a_running_store(running: SqliteStore, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "check", str(directory)]) == 0
    assert capsys.readouterr().out == "nothing is wrong\n"
    running.commit([MESSAGE], sync=True)


def test_check_finds_what_is_wrong(directory: Path, running: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    running.commit([PutRetained(b"dangling", 99)], sync=True)
    running.close()
    with closing(sqlite3.connect(directory / "noctule.db")) as connection:
        connection.execute("UPDATE will SET topic = x'00' WHERE session_id = 1")
        connection.commit()
    assert main(["store", "check", str(directory)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "1 row of retained whose message is missing ('dangling')" in lines[0]
    assert "1 row of will damaged (1)" in lines[1]


def test_check_of_a_file_that_is_cut(directory: Path, running: SqliteStore, capsys: pytest.CaptureFixture[str]) -> None:
    running.close()
    path = directory / "noctule.db"
    path.write_bytes(path.read_bytes()[:5000])
    assert main(["store", "check", str(directory)]) == 1
    assert "is damaged" in capsys.readouterr().out


@pytest.mark.usefixtures("running")
def test_stats(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["store", "stats", "--json", str(directory)]) == 0
    sizes = json.loads(capsys.readouterr().out)
    assert (sizes["message"], sizes["queued"], sizes["payload_bytes"]) == (2, 3, 256)
    assert sizes["noctule.db_bytes"] > 0
    assert main(["store", "stats", str(directory)]) == 0
    assert "message " in capsys.readouterr().out


def test_backup_while_it_runs(running: SqliteStore, directory: Path, tmp_path: Path) -> None:
    target = tmp_path / "backup" / "noctule.db"
    target.parent.mkdir()
    assert main(["store", "backup", str(directory), str(target)]) == 0
    running.commit([MESSAGE._replace(message_id=77)], sync=True)
    assert target.stat().st_mode & 0o777 == 0o600
    assert restored(target.parent) == set(FULL)


def test_backup_does_not_write_over_a_file(
    running: SqliteStore, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "there"
    target.write_text("mine")
    assert main(["store", "backup", str(directory), str(target)]) == 1
    assert "already there" in capsys.readouterr().err
    assert target.read_text() == "mine"


def test_export_and_import(
    running: SqliteStore, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["store", "export", str(directory), "-o", str(tmp_path / "lines")]) == 0
    assert main(["store", "export", str(directory)]) == 0
    assert (tmp_path / "lines").read_text() in capsys.readouterr().out
    assert main(["store", "import", str(tmp_path / "new"), str(tmp_path / "lines")]) == 0
    assert "2 message" in capsys.readouterr().out
    assert restored(tmp_path / "new") == set(FULL)


def test_import_of_a_dump(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    message = {"storeid": 5, "expiry-time": 0, "qos": 1, "retain": 1, "topic": "a", "payload": "eA=="}
    dump = {
        "base-messages": [message],
        "clients": [],
        "client-messages": [],
        "retained-messages": [{"storeid": 5}, {"storeid": 6}],
        "subscriptions": [],
    }
    (tmp_path / "dump.json").write_text(json.dumps(dump, indent=1))
    assert main(["store", "import", str(tmp_path / "new"), str(tmp_path / "dump.json")]) == 0
    out = capsys.readouterr()
    assert "1 message, 1 retained" in out.out
    assert "left out: retained message 6" in out.err
    assert PutRetained(b"a", 1) in restored(tmp_path / "new")


def test_import_needs_an_empty_store_that_nobody_uses(
    running: SqliteStore, directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "lines"
    assert main(["store", "export", str(directory), "-o", str(lines)]) == 0
    assert main(["store", "import", str(directory), str(lines)]) == 1
    assert "used by another process" in capsys.readouterr().err
    running.close()
    assert main(["store", "import", str(directory), str(lines)]) == 1
    assert "not empty" in capsys.readouterr().err
    assert restored(directory) == set(FULL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["check", "{}/none"], "there is no store in"),
        (["stats", "{}/none"], "there is no store in"),
        (["check", "{}", "--store", "no_such"], "there is no plugin 'no_such'"),
        (["check", "{}", "--store", "memory_store"], "no store that can be read"),
        (["import", "{}/new", "{}/none"], "none: No such file"),
        (["import", "{}/new", "{}/text"], "is not JSON"),
        (["import", "{}/new", "{}/bytes"], "neither JSON nor a database"),
        (["import", "{}/new", "{}/half"], "the last line is missing"),
    ],
)
def test_what_can_be_wrong(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("hello")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "half").write_text('{"noctule_store": 1}\n')
    assert main(["store", *(part.replace("{}", str(tmp_path)) for part in arguments)]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists(), "nothing is made before the file is read"
