"""Mosquitto's password file: read as it is, with every error at once.

Each line is ``user:hash``. Lines that begin with ``#`` are comments, lines without ``:`` are not looked at, and blanks
around user and hash do not count. How it is written is in ``password_file_changes``.
"""

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from noctule.auth.password_hashes import PasswordHash, parse_hash
from noctule.config.problems import Place, Problem

#: A million users have a file of about 220 MB; this is for what is no password file.
FILE_MAX_BYTES: Final = 256 * 1024 * 1024

#: What a field of CONNECT can carry.
USER_NAME_MAX_BYTES: Final = 65_535

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


class PasswordFileError(Exception):
    """A password file that cannot be used, or not be written. ``problems`` has everything that is wrong with it, in
    order of lines; no text of it holds a password or a hash."""

    def __init__(self, *problems: Problem) -> None:
        self.problems = problems
        super().__init__("\n".join(problem.line("error") for problem in problems))


@dataclass(frozen=True, slots=True)
class PasswordEntry:
    """One line with a user."""

    user_name: str
    hash: PasswordHash

    #: The hash as it was written.
    hash_text: str = field(repr=False)

    #: The number of its line, from 1.
    line: int


@dataclass(frozen=True, slots=True)
class Passwords:
    """What a password file says."""

    entries: Mapping[str, PasswordEntry]

    #: The numbers of the lines that have neither ``:`` nor ``#`` in front: they say nothing, whatever was meant.
    ignored_lines: tuple[int, ...] = ()


def read_passwords(path: Path) -> Passwords:
    """What the file says. PasswordFileError with all that is wrong with it."""
    return parse_passwords(read_content(path), str(path))


def read_content(path: Path) -> bytes:
    """All of the file. PasswordFileError where it cannot be read."""
    try:
        # Without O_NONBLOCK a pipe in its place would hold up whoever opens it.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PasswordFileError(Problem(Place(str(path)), "", "is no file; expected a password file"))
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(FILE_MAX_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise PasswordFileError(unreadable(path, error)) from None
    if len(content) > FILE_MAX_BYTES:
        text = f"is larger than {FILE_MAX_BYTES} bytes: not a password file"
        raise PasswordFileError(Problem(Place(str(path)), "", text))
    return content


def unreadable(path: Path, error: OSError) -> Problem:
    """That the file cannot be read, and what helps."""
    text = f"cannot be read: {error.strerror or error}"
    if isinstance(error, FileNotFoundError):
        text += f"; make it with `noctule passwd -c {path} USER`"
    elif isinstance(error, PermissionError):
        text += "; the user that the broker runs as must be its owner, or be in its group and the group may read it"
    return Problem(Place(str(path)), "", text)


def parse_passwords(content: bytes, source: str) -> Passwords:
    """What this text says; ``source`` is what its errors call it. PasswordFileError with all that is wrong with it."""
    problems: list[Problem] = []
    entries: dict[str, PasswordEntry] = {}
    ignored: list[int] = []
    if content.startswith(_BYTE_ORDER_MARK):
        problems.append(Problem(Place(source, 1), "", "begins with a byte order mark: save it as UTF-8 without one"))
        content = content.removeprefix(_BYTE_ORDER_MARK)
    for number, line in enumerate(lines_of(content), 1):
        parts = split_line(line)
        if parts is None:
            if line.strip() and not line.startswith(b"#"):
                ignored.append(number)
            continue
        place = Place(source, number)
        try:
            entry = _parse_entry(*parts, number, source)
        except ValueError as error:
            problems.append(Problem(place, "", str(error)))
            continue
        first = entries.setdefault(entry.user_name, entry)
        if first is not entry:
            text = f"{quoted(entry.user_name)} is there already in line {first.line}: keep one of the two"
            problems.append(Problem(place, "", text))
    if problems:
        raise PasswordFileError(*problems)
    return Passwords(entries, tuple(ignored))


def lines_of(content: bytes) -> list[bytes]:
    """The lines without their ends. Only LF ends one; CR before it is one of the blanks that do not count."""
    lines = content.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return lines


def split_line(line: bytes) -> tuple[bytes, bytes] | None:
    """User name and hash of a line, without the blanks around them; None where it is not to be looked at."""
    if line.startswith(b"#") or b":" not in line:
        return None
    user_name, _, rest = line.partition(b":")
    return user_name.strip(), rest.strip()


def check_user_name(user_name: str) -> None:
    """ValueError for a name that a password file cannot hold, or no client can send."""
    try:
        encoded = user_name.encode()
    except UnicodeEncodeError:
        raise ValueError("the user name is not UTF-8") from None
    if not encoded:
        raise ValueError("the user name is empty")
    if len(encoded) > USER_NAME_MAX_BYTES:
        raise ValueError(f"a user name of {len(encoded)} bytes: expected at most {USER_NAME_MAX_BYTES}")
    if ":" in user_name:
        raise ValueError(f"{quoted(user_name)} has a ':', which ends a user name in the file")
    if any(character < " " or "\x7f" <= character <= "\x9f" for character in user_name):
        raise ValueError(f"{quoted(user_name)} has control characters")
    if encoded != encoded.strip() or user_name.startswith("#"):
        raise ValueError(
            f"{quoted(user_name)} begins or ends with a blank, or begins with '#', which a file cannot hold"
        )


def quoted(user_name: str) -> str:
    """A user name for people."""
    return f'"{user_name if len(user_name) <= 60 else user_name[:57] + "..."}"'


def _parse_entry(user_bytes: bytes, hash_bytes: bytes, number: int, source: str) -> PasswordEntry:
    """ValueError says what is wrong with it."""
    try:
        user_name = user_bytes.decode()
    except UnicodeDecodeError:
        raise ValueError("the user name is not UTF-8") from None
    if not user_name:
        raise ValueError("no user name before the ':'; a comment begins with '#'")
    check_user_name(user_name)
    if not hash_bytes:
        raise ValueError(f"no hash for {quoted(user_name)}; set a password with `noctule passwd {source} USER`")
    if not hash_bytes.startswith(b"$"):
        raise ValueError(
            f"the password of {quoted(user_name)} is not hashed; `noctule passwd -U {source}` hashes all that are not"
        )
    try:
        text = hash_bytes.decode("ascii")
        return PasswordEntry(user_name, parse_hash(text), text, number)
    except UnicodeDecodeError:
        reason = "a hash with characters that none has"
    except ValueError as error:
        reason = str(error)
    raise ValueError(f"{quoted(user_name)}: {reason}; set the password anew with `noctule passwd {source} USER`")
