"""Changes to a password file that are whole or not there, and that several at once may make.

Who changes a file locks it, reads it, writes a new one beside it and renames that over it. The lock is on the file
itself; it belongs to what the name leads to, so whoever gets it looks whether that is still the same file, and tries
again where it is not. Readers need no lock: they find the old file or the new one. Comments, the order of lines and
whatever else is in the file stay as they are.
"""

import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from noctule.auth.password_file import (
    PasswordFileError,
    check_user_name,
    lines_of,
    quoted,
    read_content,
    split_line,
    unreadable,
)
from noctule.auth.password_hashes import PasswordHash, parse_hash
from noctule.config.problems import Place, Problem

#: How long another's change is waited for. One takes milliseconds, on a disk that has much to do perhaps a second.
LOCK_WAIT_S: Final = 10.0

_LOCK_POLL_S: Final = 0.01

#: The rights that a file keeps: its owner's, and to be read by its group.
_MODE_KEPT: Final = 0o640

#: The rights of a new file.
_MODE_NEW: Final = 0o600


@dataclass(frozen=True, slots=True)
class Change:
    """What a change has found and done."""

    #: How many lines had what was to be changed.
    found: int

    #: The rights of the file before, where others had some that are gone now; None where nothing was taken away.
    mode_before: int | None = None


def set_password(path: Path, user_name: str, stored: PasswordHash) -> Change:
    """Give a user this hash, in a line of its own at the end where it has none yet.

    ValueError for a user name that the file cannot hold, PasswordFileError where the file cannot be changed.
    """
    check_user_name(user_name)
    new = f"{user_name}:{stored}".encode()

    def change(content: bytes) -> tuple[bytes, int]:
        lines: list[bytes] = []
        found = 0
        for line in lines_of(content):
            if _is_of(line, user_name):
                found += 1
                if found == 1:
                    lines.append(new)
            else:
                lines.append(line)
        return _joined(lines if found else [*lines, new]), found

    return _edit(path, change)


def replace_hash(path: Path, user_name: str, old_text: str, stored: PasswordHash) -> bool:
    """Give a user this hash if it has that one; whether it had. PasswordFileError where the file cannot be changed."""
    old, new = old_text.encode(), f"{user_name}:{stored}".encode()

    def change(content: bytes) -> tuple[bytes, int]:
        lines = lines_of(content)
        its_own = [index for index, line in enumerate(lines) if _is_of(line, user_name)]
        if len(its_own) != 1 or split_line(lines[its_own[0]]) != (user_name.encode(), old):
            return content, 0
        lines[its_own[0]] = new
        return _joined(lines), 1

    return _edit(path, change).found == 1


def remove_user(path: Path, user_name: str) -> Change:
    """Take every line of a user out. PasswordFileError where the file cannot be changed."""

    def change(content: bytes) -> tuple[bytes, int]:
        lines = lines_of(content)
        kept = [line for line in lines if not _is_of(line, user_name)]
        found = len(lines) - len(kept)
        return (_joined(kept) if found else content), found

    return _edit(path, change)


def hash_plain_text(path: Path, make: Callable[[bytes], PasswordHash]) -> Change:
    """Replace every password that is not hashed by its hash, as ``make`` makes it; hashes stay as they are.

    PasswordFileError where the file cannot be changed, or a line could be read in two ways; nothing is changed then.
    """
    made: dict[tuple[bytes, bytes], bytes] = {}

    def change(content: bytes) -> tuple[bytes, int]:
        lines = lines_of(content)
        found = 0
        for index, line in enumerate(lines):
            parts = split_line(line)
            if parts is None or _is_hash(parts[1]):
                continue
            if parts not in made:
                made[parts] = parts[0] + b":" + str(make(parts[1])).encode()
            lines[index] = made[parts]
            found += 1
        return (_joined(lines) if found else content), found

    # Hashing takes long, so it is done before the file is locked, and under the lock only what has come since.
    content = read_content(path)
    _check_plain_text(content, path)
    change(content)

    def checked(content: bytes) -> tuple[bytes, int]:
        _check_plain_text(content, path)
        return change(content)

    return _edit(path, checked)


def create_password_file(path: Path, user_name: str, stored: PasswordHash, *, overwrite: bool = False) -> Change:
    """A new file with this one user, which its owner alone may read.

    FileExistsError where there is one and ``overwrite`` does not say to replace it, ValueError for a user name that
    a file cannot hold, PasswordFileError where the file cannot be written.
    """
    check_user_name(user_name)
    content = f"{user_name}:{stored}\n".encode()
    target = Path(os.path.realpath(path))
    if overwrite and target.exists():
        return _edit(path, lambda _: (content, 0))
    with _writing(path), _written_beside(target, content, None) as temporary:
        try:
            os.link(temporary, target)
        except FileExistsError:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP):
                raise
            # A file system without hard links: what came into being since we looked would be replaced.
            if target.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            temporary.rename(target)
        _sync_folder(target)
    return Change(0)


def _edit(path: Path, change: Callable[[bytes], tuple[bytes, int]]) -> Change:
    """Give the file the content that ``change`` makes of what it has; it also says what it has found."""
    # What a link leads to is replaced, and the link stays: it may be /etc's way to a data folder.
    target = Path(os.path.realpath(path))
    with _locked(path, target) as descriptor:
        before = os.fstat(descriptor)
        content = read_content(target)
        new, found = change(content)
        taken = stat.S_IMODE(before.st_mode) & ~_MODE_KEPT
        if new == content:
            return Change(found)
        with _writing(path), _written_beside(target, new, before) as temporary:
            temporary.rename(target)
            _sync_folder(target)
    return Change(found, stat.S_IMODE(before.st_mode) if taken else None)


@contextmanager
def _locked(path: Path, target: Path) -> Iterator[int]:
    """A descriptor of the file, which is locked for everybody else who changes it so."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while True:
        descriptor = _open_to_lock(path, target)
        try:
            if _lock(descriptor, path) and _is_still(target, descriptor):
                yield descriptor
                return
        finally:
            os.close(descriptor)  # which releases the lock
        if time.monotonic() >= deadline:
            raise PasswordFileError(
                Problem(
                    Place(str(path)), "", f"has been locked by somebody else for {LOCK_WAIT_S:.0f} s: try again later"
                )
            )
        time.sleep(_LOCK_POLL_S)


def _open_to_lock(path: Path, target: Path) -> int:
    flags = os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(OSError):
        return os.open(target, os.O_RDWR | flags)  # NFS locks only what may be written
    try:
        return os.open(target, os.O_RDONLY | flags)
    except OSError as error:
        raise PasswordFileError(unreadable(path, error)) from None


def _lock(descriptor: int, path: Path) -> bool:
    """Lock the file; False where somebody else has it locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise PasswordFileError(_unwritable(path, error)) from None
    return True


def _is_still(target: Path, descriptor: int) -> bool:
    """Whether the name leads to this very file, and not to one that has replaced it."""
    try:
        now = os.stat(target)
    except FileNotFoundError:
        return False
    return os.path.samestat(now, os.fstat(descriptor))


@contextmanager
def _written_beside(target: Path, content: bytes, before: os.stat_result | None) -> Iterator[Path]:
    """A file with this content beside the target, safe on the disk, with the owner and rights that it is to have.

    It is removed at the end if it is there still.
    """
    temporary = target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _MODE_NEW)
    try:
        with open(descriptor, "wb") as file:
            mode = _MODE_NEW
            if before is not None:
                mode = stat.S_IMODE(before.st_mode) & _MODE_KEPT
                ours = os.fstat(descriptor)
                if (ours.st_uid, ours.st_gid) != (before.st_uid, before.st_gid):
                    os.fchown(descriptor, before.st_uid, before.st_gid)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        yield temporary
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _sync_folder(target: Path) -> None:
    """Make the new name safe on the disk."""
    descriptor = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """The errors of the system with what helps."""
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        raise PasswordFileError(_unwritable(path, error)) from None


def _unwritable(path: Path, error: OSError) -> Problem:
    text = f"cannot be written: {error.strerror or error}"
    if error.errno == errno.EBUSY:
        text += "; it is mounted by itself (a container's volume of one file): mount its folder instead"
    elif error.errno == errno.EROFS:
        text += "; change it where it is mounted from"
    elif error.errno in (errno.EACCES, errno.EPERM):
        text += "; its folder must be writable, and only root can keep another owner: run this as its owner, or as root"
    return Problem(Place(str(path)), "", text)


def _is_of(line: bytes, user_name: str) -> bool:
    parts = split_line(line)
    return parts is not None and parts[0] == user_name.encode()


def _joined(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def _is_hash(text: bytes) -> bool:
    try:
        parse_hash(text.decode("ascii"))
    except ValueError:
        return False
    return True


def _check_plain_text(content: bytes, path: Path) -> None:
    """PasswordFileError for every line of which it is not certain what the password is."""
    problems = []
    seen: dict[str, int] = {}
    for number, line in enumerate(lines_of(content), 1):
        parts = split_line(line)
        if parts is None:
            continue
        try:
            user_name = parts[0].decode()
            check_user_name(user_name)
            _check_plain_password(user_name, parts[1], number, seen)
        except UnicodeDecodeError:
            problems.append(Problem(Place(str(path), number), "", "the user name is not UTF-8"))
        except ValueError as error:
            problems.append(Problem(Place(str(path), number), "", str(error)))
    if problems:
        raise PasswordFileError(*problems)


def _check_plain_password(user_name: str, password: bytes, number: int, seen: dict[str, int]) -> None:
    first = seen.setdefault(user_name, number)
    if first != number:
        raise ValueError(f"{quoted(user_name)} is there already in line {first}: keep one of the two")
    if _is_hash(password):
        return
    if not password:
        raise ValueError(f"no password for {quoted(user_name)}")
    if password.startswith((b"$argon2", b"$7$", b"$6$")):
        raise ValueError(f"{quoted(user_name)}: begins as a hash and is none: set the password anew")
    if b":" in password:
        raise ValueError(
            f"the password of {quoted(user_name)} has a ':', and Mosquitto takes what stands before it: set it anew"
        )
