"""Changes to password files: what stays, who may read them after, links, and many changes at once."""

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from noctule.auth import password_file_changes
from noctule.auth.password_file import PasswordFileError, read_passwords
from noctule.auth.password_file_changes import (
    Change,
    create_password_file,
    hash_plain_text,
    remove_user,
    replace_hash,
    set_password,
)
from noctule.auth.password_hashes import HashKind, PasswordHash, make_hash

Patch = pytest.MonkeyPatch


def hash_of(password: bytes) -> PasswordHash:
    return make_hash(password, HashKind.SHA512)


OLD, NEW, OTHER = hash_of(b"old"), hash_of(b"new"), hash_of(b"other")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path / "passwd", f"# ours\nalice:{OLD}\n\nbob : {OTHER} \nno user\n")


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def error_of(change: Callable[[], object]) -> str:
    with pytest.raises(PasswordFileError) as raised:
        change()
    return str(raised.value)


@pytest.mark.parametrize(
    ("user_name", "found", "text"),
    [
        ("alice", 1, f"# ours\nalice:{NEW}\n\nbob : {OTHER} \nno user\n"),
        ("bob", 1, f"# ours\nalice:{OLD}\n\nbob:{NEW}\nno user\n"),
        ("carol", 0, f"# ours\nalice:{OLD}\n\nbob : {OTHER} \nno user\ncarol:{NEW}\n"),
        ("ours", 0, f"# ours\nalice:{OLD}\n\nbob : {OTHER} \nno user\nours:{NEW}\n"),
    ],
)
def test_a_password_is_set(path: Path, user_name: str, found: int, text: str) -> None:
    assert set_password(path, user_name, NEW) == Change(found)
    assert path.read_text() == text
    assert read_passwords(path).entries[user_name].hash.matches(b"new")
    assert os.listdir(path.parent) == ["passwd"], "something was left behind"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", f"alice:{NEW}\n"),
        (f"bob:{OTHER}", f"bob:{OTHER}\nalice:{NEW}\n"),
        (f"bob:{OTHER}\r\n", f"bob:{OTHER}\r\nalice:{NEW}\n"),
        (f"alice:{OLD}\nbob:{OTHER}\nalice:plain\n", f"alice:{NEW}\nbob:{OTHER}\n"),
        ("alice:plain\nbob:plain\n", f"alice:{NEW}\nbob:plain\n"),
    ],
)
def test_a_password_is_set_in_any_file(tmp_path: Path, text: str, expected: str) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(text.encode())
    set_password(path, "alice", NEW)
    assert path.read_bytes().decode() == expected


def test_a_user_is_removed(path: Path) -> None:
    assert remove_user(path, "alice") == Change(1)
    assert path.read_text() == f"# ours\n\nbob : {OTHER} \nno user\n"
    before = path.stat()
    assert remove_user(path, "alice") == Change(0)
    assert path.stat().st_ino == before.st_ino, "written without need"


def test_a_hash_is_replaced_if_it_is_there_still(path: Path) -> None:
    assert not replace_hash(path, "alice", str(OTHER), NEW)
    assert not replace_hash(path, "carol", str(OLD), NEW)
    assert replace_hash(path, "bob", str(OTHER), NEW)
    assert path.read_text() == f"# ours\nalice:{OLD}\n\nbob:{NEW}\nno user\n"


def test_a_file_is_created(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    create_password_file(path, "alice", NEW)
    assert (path.read_text(), mode_of(path), path.stat().st_nlink) == (f"alice:{NEW}\n", 0o600, 1)
    with pytest.raises(FileExistsError):
        create_password_file(path, "bob", NEW)
    assert list(read_passwords(path).entries) == ["alice"]
    create_password_file(path, "bob", NEW, overwrite=True)
    assert list(read_passwords(path).entries) == ["bob"]
    assert os.listdir(tmp_path) == ["passwd"]


def test_a_file_is_created_where_there_are_no_hard_links(tmp_path: Path, monkeypatch: Patch) -> None:
    def no_links(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    create_password_file(tmp_path / "passwd", "alice", NEW)
    with pytest.raises(FileExistsError):
        create_password_file(tmp_path / "passwd", "bob", NEW)
    assert list(read_passwords(tmp_path / "passwd").entries) == ["alice"]
    assert os.listdir(tmp_path) == ["passwd"]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [(0o600, 0o600, None), (0o400, 0o400, None), (0o640, 0o640, None), (0o644, 0o640, 0o644), (0o666, 0o640, 0o666)],
)
def test_who_may_read_it(path: Path, before: int, after: int, told: int | None) -> None:
    path.chmod(before)
    assert set_password(path, "alice", NEW).mode_before == told
    assert mode_of(path) == after


@as_root
def test_its_owner_stays(path: Path) -> None:
    os.chown(path, 1234, 2345)
    set_password(path, "alice", NEW)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 2345)


@as_root
def test_who_cannot_keep_the_owner_changes_nothing(path: Path, monkeypatch: Patch) -> None:
    """A user who may write to the folder and is not the owner of the file."""

    def refuse(descriptor: int, owner: int, group: int) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refuse)
    os.chown(path, 1234, 2345)
    content = path.read_bytes()
    assert error_of(lambda: remove_user(path, "alice")).startswith(
        f"{path}: error: cannot be written: Operation not permitted; its folder must be writable, and only root can "
    )
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["passwd"]


def test_links_stay_links(path: Path) -> None:
    folder = path.parent / "etc"
    folder.mkdir()
    link = folder / "passwd"
    link.symlink_to("../passwd")
    set_password(link, "alice", NEW)
    remove_user(link, "bob")
    assert link.is_symlink()
    assert list(read_passwords(path).entries) == ["alice"]
    assert os.listdir(folder) == ["passwd"]
    new = folder / "new"
    new.symlink_to("../made")
    create_password_file(new, "carol", NEW)
    assert new.is_symlink()
    assert list(read_passwords(path.parent / "made").entries) == ["carol"]


@pytest.mark.parametrize("failing", ["fsync", "fchmod", "rename"])
def test_a_disk_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: Patch, failing: str) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    content = path.read_bytes()
    monkeypatch.setattr(Path if failing == "rename" else os, failing, fail)
    assert error_of(lambda: set_password(path, "alice", NEW)) == (
        f"{path}: error: cannot be written: No space left on device"
    )
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == ["passwd"]


@pytest.mark.parametrize(
    ("number", "hint"),
    [(errno.EBUSY, "mount its folder instead"), (errno.EROFS, "change it where it is mounted from")],
)
def test_what_helps(path: Path, monkeypatch: Patch, number: int, hint: str) -> None:
    def fail(self: Path, target: Path) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "rename", fail)
    assert error_of(lambda: set_password(path, "alice", NEW)).endswith(hint)


def test_everything_is_on_the_disk_before_the_name_is(path: Path, monkeypatch: Patch) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_fsync(descriptor: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def note_rename(self: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(Path, "rename", note_rename)
    set_password(path, "alice", NEW)
    assert calls == ["file", "rename", "folder"]


@pytest.mark.parametrize("user_name", ["", "a:b", " a", "a\t", "#a", "a\nb", "\udc80", "u" * 65_536])
def test_user_names_that_a_file_cannot_hold(path: Path, tmp_path: Path, user_name: str) -> None:
    content = path.read_bytes()
    with pytest.raises(ValueError, match=r"user name|begins or ends|has a ':'|control"):
        set_password(path, user_name, NEW)
    with pytest.raises(ValueError, match=r"user name|begins or ends|has a ':'|control"):
        create_password_file(tmp_path / "new", user_name, NEW)
    assert path.read_bytes() == content
    assert os.listdir(tmp_path) == ["passwd"]


# --- several at once -----------------------------------------------------------------------------------


def test_changes_at_once_lose_nothing(path: Path) -> None:
    def add(number: int) -> None:
        for turn in range(10):
            set_password(path, f"user {number} {turn}", NEW)
        for turn in range(5):
            assert remove_user(path, f"user {number} {turn}").found == 1

    threads = [threading.Thread(target=add, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = {"alice", "bob", *(f"user {number} {turn}" for number in range(8) for turn in range(5, 10))}
    assert set(read_passwords(path).entries) == expected


def test_a_lock_is_waited_for_and_not_for_ever(path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(password_file_changes, "LOCK_WAIT_S", 0.05)
    with path.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert error_of(lambda: remove_user(path, "alice")).startswith(f"{path}: error: has been locked by somebody")
    assert remove_user(path, "alice").found == 1


def test_the_lock_of_a_file_that_was_replaced_counts_for_nothing(path: Path, monkeypatch: Patch) -> None:
    """Between opening and locking, somebody replaces the file, and somebody else is changing the new one."""
    monkeypatch.setattr(password_file_changes, "LOCK_WAIT_S", 0.05)
    flock = fcntl.flock
    another = write(path.parent / "next", f"carol:{OTHER}\n").open()
    flock(another, fcntl.LOCK_EX)

    def replace_first(descriptor: int, operation: int) -> None:
        if (path.parent / "next").exists():
            (path.parent / "next").rename(path)
        flock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", replace_first)
    assert "has been locked by somebody else" in error_of(lambda: set_password(path, "alice", NEW))
    another.close()
    set_password(path, "alice", NEW)
    assert path.read_text() == f"carol:{OTHER}\nalice:{NEW}\n"


# --- plain text ---------------------------------------------------------------------------------------------


def test_plain_text_is_hashed(tmp_path: Path) -> None:
    path = write(tmp_path / "passwd", f"# ours\nalice:pass word\nbob:{OTHER}\n carol : $ecret\r\nnothing\n")
    assert hash_plain_text(path, hash_of) == Change(2)
    lines = path.read_text().splitlines()
    assert (lines[0], lines[2], lines[4]) == ("# ours", f"bob:{OTHER}", "nothing")
    entries = read_passwords(path).entries
    assert entries["alice"].hash.matches(b"pass word")
    assert entries["carol"].hash.matches(b"$ecret")
    assert hash_plain_text(path, hash_of) == Change(0)


def test_plain_text_that_could_mean_two_things(tmp_path: Path) -> None:
    text = "a:b:c\nb:$7$0$x$y\nc:\nd:good\nd:twice\n:x\n\n"
    path = write(tmp_path / "passwd", text)
    assert error_of(lambda: hash_plain_text(path, hash_of)).splitlines() == [
        f"{path}:1: error: the password of \"a\" has a ':', and Mosquitto takes what stands before it: set it anew",
        f'{path}:2: error: "b": begins as a hash and is none: set the password anew',
        f'{path}:3: error: no password for "c"',
        f'{path}:5: error: "d" is there already in line 4: keep one of the two',
        f"{path}:6: error: the user name is empty",
    ]
    assert path.read_text() == text


def test_a_user_who_comes_while_plain_text_is_hashed(tmp_path: Path) -> None:
    path = write(tmp_path / "passwd", "alice:one\n")
    made = []

    def make(password: bytes) -> PasswordHash:
        if not made:
            path.write_text("alice:one\nbob:two\n")
        made.append(password)
        return hash_of(password)

    assert hash_plain_text(path, make).found == 2
    assert made == [b"one", b"two"], "hashed twice"
    assert read_passwords(path).entries["bob"].hash.matches(b"two")
