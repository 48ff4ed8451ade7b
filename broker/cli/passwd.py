"""``noctule passwd``: makes and changes password files, with the options and the order of mosquitto_passwd."""

import argparse
import getpass
import os
import sys
from pathlib import Path
from typing import Final

from noctule.auth.password_file import PasswordFileError, check_user_name, quoted
from noctule.auth.password_file_changes import (
    Change,
    create_password_file,
    hash_plain_text,
    remove_user,
    set_password,
)
from noctule.auth.password_hashes import (
    PBKDF2_ITERATIONS,
    PBKDF2_ITERATIONS_MAX,
    HashingError,
    HashKind,
    PasswordHash,
    make_hash,
)
from noctule.config.problems import printable

#: What a field of CONNECT can carry.
_PASSWORD_MAX_BYTES: Final = 65_535

#: In place of a file: standard output.
_STDOUT: Final = "-"


class _RefusedError(Exception):
    """It is not done; the text says why."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Describe the sub-command."""
    parser = subparsers.add_parser(
        "passwd",
        help="make and change password files",
        usage="noctule passwd [-H KIND] [-I ITERATIONS] [-c | -D] FILE USER\n"
        "       noctule passwd [-H KIND] [-I ITERATIONS] [-c] -b FILE USER PASSWORD\n"
        "       noctule passwd [-H KIND] [-I ITERATIONS] -U FILE",
        description="Give a user in a password file a password, as mosquitto_passwd does. It is asked for twice, or "
        "taken from the first line of standard input where that is no terminal. A running broker reads the file again "
        "when it is told to reload.",
    )
    action = parser.add_mutually_exclusive_group()
    action.add_argument(
        "-c",
        dest="create",
        action="store_true",
        help="make a new file (-: print the line to standard output); before one is replaced, a question is asked",
    )
    action.add_argument("-D", dest="delete", action="store_true", help="remove the user")
    action.add_argument(
        "-U", dest="upgrade", action="store_true", help="hash the passwords of a file that has them in plain text"
    )
    parser.add_argument(
        "-b",
        dest="batch",
        action="store_true",
        help="take the password from the command line, where other users of this machine can see it",
    )
    parser.add_argument(
        "-H",
        dest="kind",
        choices=[kind.value for kind in HashKind],
        default=HashKind.ARGON2ID.value,
        help="kind of hash: argon2id (default; Mosquitto reads it from 2.1 on), sha512-pbkdf2 (from 2.0 on), sha512 "
        "(any; weak)",
    )
    parser.add_argument(
        "-I",
        dest="iterations",
        metavar="ITERATIONS",
        type=int,
        help=f"iterations of sha512-pbkdf2 (default: {PBKDF2_ITERATIONS})",
    )
    # All that comes after the options, whatever it begins with: a password may begin with a dash.
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Do it. 0: done; 1: not done, and nothing is changed; 2: wrong usage."""
    _check_usage(arguments)
    try:
        if arguments.delete:
            _delete(Path(arguments.words[0]), arguments.words[1])
        elif arguments.upgrade:
            _upgrade(Path(arguments.words[0]), arguments)
        else:
            _set(arguments)
    except PasswordFileError as error:
        print(error, file=sys.stderr)
        return 1
    except (_RefusedError, HashingError) as error:
        print(f"noctule: {error}", file=sys.stderr)
        return 1
    return 0


def _check_usage(arguments: argparse.Namespace) -> None:
    """End with a usage message where the options do not go together, or words are missing."""
    parser: argparse.ArgumentParser = arguments.parser
    if arguments.words[:1] == ["--"]:
        del arguments.words[0]
    if arguments.batch and (arguments.delete or arguments.upgrade):
        parser.error(f"-b goes with a password, which {'-D' if arguments.delete else '-U'} does not take")
    expected = ["FILE"] if arguments.upgrade else ["FILE", "USER"] + ["PASSWORD"] * arguments.batch
    given = len(arguments.words)
    if given < len(expected):
        parser.error(f"{' and '.join(expected[given:])} missing")
    if given > len(expected):
        hint = "; a password on the command line needs -b" if given == 3 and not arguments.batch else ""
        parser.error(f"expected {' '.join(expected)} and nothing after; options come before{hint}")
    if arguments.iterations is not None:
        if arguments.kind != HashKind.SHA512_PBKDF2.value:
            parser.error("-I is for -H sha512-pbkdf2")
        if not 1 <= arguments.iterations <= PBKDF2_ITERATIONS_MAX:
            parser.error(f"-I {arguments.iterations}: expected 1 to {PBKDF2_ITERATIONS_MAX}")
    if arguments.words[0] == _STDOUT and not arguments.create:
        parser.error("- in place of a file goes with -c")


def _set(arguments: argparse.Namespace) -> None:
    file, user_name = arguments.words[:2]
    try:
        check_user_name(user_name)
    except ValueError as error:
        raise _RefusedError(str(error)) from None
    path = Path(file)
    overwrite = False
    if file != _STDOUT:
        # Asked before the password is: nobody types one for nothing.
        if arguments.create:
            overwrite = _may_overwrite(path)
        elif not path.exists():
            raise _RefusedError(f"there is no file {path}; -c makes it")
    password = os.fsencode(arguments.words[2]) if arguments.batch else _ask_password()
    if not password:
        raise _RefusedError("the password is empty")
    if len(password) > _PASSWORD_MAX_BYTES:
        raise _RefusedError(f"a password of {len(password)} bytes: no client can send more than {_PASSWORD_MAX_BYTES}")
    stored = _hash(password, arguments)
    if file == _STDOUT:
        print(f"{user_name}:{stored}")
        return
    if arguments.create:
        try:
            change = create_password_file(path, user_name, stored, overwrite=overwrite)
        except FileExistsError:
            raise _RefusedError(f"{path} has come into being meanwhile; nothing is changed") from None
    else:
        change = set_password(path, user_name, stored)
    print(f"{'Updating' if change.found else 'Adding'} password for user {printable(user_name)}")
    _tell_mode(path, change)


def _delete(path: Path, user_name: str) -> None:
    change = remove_user(path, user_name)
    if not change.found:
        raise _RefusedError(f"{path} has no user {quoted(printable(user_name))}")
    _tell_mode(path, change)


def _upgrade(path: Path, arguments: argparse.Namespace) -> None:
    change = hash_plain_text(path, lambda password: _hash(password, arguments))
    print(f"{change.found} password{'' if change.found == 1 else 's'} hashed in {path}")
    _tell_mode(path, change)


def _hash(password: bytes, arguments: argparse.Namespace) -> PasswordHash:
    iterations = PBKDF2_ITERATIONS if arguments.iterations is None else arguments.iterations
    return make_hash(password, HashKind(arguments.kind), iterations=iterations)


def _may_overwrite(path: Path) -> bool:
    """Whether there is a file that may be replaced. _RefusedError where there is one that may not."""
    if not path.exists():
        return False
    if not sys.stdin.isatty():
        raise _RefusedError(
            f"{path} exists, and -c would replace it with all its users: leave -c out, or remove it first"
        )
    print(f"{path} exists. Replace it with all its users? (y/n) ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise _RefusedError("nothing is changed")
    return True


def _ask_password() -> bytes:
    """The password. _RefusedError where the two are not the same, or there is none."""
    if not sys.stdin.isatty():
        lines: list[bytes] = sys.stdin.buffer.read(2 * _PASSWORD_MAX_BYTES + 8).split(b"\n")
        first, second = (line.removesuffix(b"\r") for line in [*lines, b""][:2])
        # Scripts made for mosquitto_passwd say it twice, as at a terminal.
        if second and second != first:
            raise _RefusedError("the two lines of standard input are not the same; the password is one line")
        return first
    try:
        first_text = getpass.getpass("Password: ")
        second_text = getpass.getpass("Reenter password: ")
    except EOFError:
        raise _RefusedError("no password; nothing is changed") from None
    if first_text != second_text:
        raise _RefusedError("the passwords are not the same; nothing is changed")
    return first_text.encode(errors="surrogateescape")


def _tell_mode(path: Path, change: Change) -> None:
    """Say that others can no longer read the file: a broker that runs as another user could not start with it."""
    if change.mode_before is not None:
        print(
            f"noctule: warning: {path} was open to others (mode {change.mode_before:04o}) and is not any more (mode "
            f"{path.stat().st_mode & 0o7777:04o}); the user that the broker runs as must own it, or be in its group",
            file=sys.stderr,
        )
