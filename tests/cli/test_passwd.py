"""``noctule passwd``: its options, what it asks, what it prints, and its exit codes."""

import io
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import noctule
import pytest
from noctule.auth.password_file import parse_passwords, read_passwords
from noctule.auth.password_hashes import Argon2Hash, Pbkdf2Hash, Sha512Hash
from noctule.cli.main import main

Output = pytest.CaptureFixture[str]
Patch = pytest.MonkeyPatch

QUICK = ("-H", "sha512-pbkdf2", "-I", "2")
DEADLINE_S = 30.0
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(noctule.__file__).parent.parent)}
COMMAND = (sys.executable, "-m", "noctule", "passwd")


def passwd(*arguments: str | Path) -> int:
    """Run the command; its exit code."""
    try:
        return main(["passwd", *map(str, arguments)])
    except SystemExit as ended:
        return int(str(ended.code))


def give_stdin(monkeypatch: Patch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def matches(path: Path, user_name: str, password: bytes) -> bool:
    return read_passwords(path).entries[user_name].hash.matches(password)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "passwd"


def test_the_way_of_mosquitto_passwd(path: Path, capsys: Output) -> None:
    assert passwd("-c", *QUICK, "-b", path, "alice", "one") == 0
    assert passwd(*QUICK, "-b", path, "bob", "two") == 0
    assert passwd(*QUICK, "-b", path, "alice", "three") == 0
    assert capsys.readouterr().out.splitlines() == [
        "Adding password for user alice",
        "Adding password for user bob",
        "Updating password for user alice",
    ]
    assert matches(path, "alice", b"three")
    assert matches(path, "bob", b"two")
    assert path.stat().st_mode & 0o777 == 0o600
    assert passwd("-D", path, "alice") == 0
    assert list(read_passwords(path).entries) == ["bob"]
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize(
    ("options", "kind"),
    [([], Argon2Hash), (["-H", "argon2id"], Argon2Hash), (["-H", "sha512"], Sha512Hash), (QUICK, Pbkdf2Hash)],
)
def test_kinds(path: Path, options: list[str], kind: type) -> None:
    assert passwd(*options, "-c", "-b", path, "alice", "pässword") == 0
    stored = read_passwords(path).entries["alice"].hash
    assert isinstance(stored, kind)
    assert stored.matches("pässword".encode())


def test_a_line_on_standard_output(tmp_path: Path, monkeypatch: Patch, capsys: Output) -> None:
    monkeypatch.chdir(tmp_path)
    assert passwd("-c", *QUICK, "-b", "-", "alice", "secret") == 0
    assert parse_passwords(capsys.readouterr().out.encode(), "").entries["alice"].hash.matches(b"secret")
    assert os.listdir(tmp_path) == []


def test_words_that_look_like_options(path: Path) -> None:
    assert passwd("-c", *QUICK, "-b", path, "-D", "-b") == 0
    assert passwd(*QUICK, "-b", path, "alice", "--help") == 0
    assert passwd(*QUICK, "-b", "--", path, "--", "--") == 0
    assert matches(path, "--", b"--")
    assert matches(path, "-D", b"-b")
    assert matches(path, "alice", b"--help")


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"secret", b"secret"),
        (b"secret\n", b"secret"),
        (b"secret\r\n", b"secret"),
        (b"secret\nsecret\n", b"secret"),
        (b" se cret \n", b" se cret "),
        (b"\xff\xfe\n", b"\xff\xfe"),
        (b"x" * 65_535 + b"\n", b"x" * 65_535),
    ],
)
def test_a_password_from_standard_input(path: Path, monkeypatch: Patch, content: bytes, password: bytes) -> None:
    give_stdin(monkeypatch, content)
    assert passwd("-c", *QUICK, path, "alice") == 0
    assert matches(path, "alice", password)


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"", "the password is empty"),
        (b"\n", "the password is empty"),
        (b"one\ntwo\n", "the two lines of standard input are not the same; the password is one line"),
        (b"x" * 65_536, "a password of 65536 bytes: no client can send more than 65535"),
    ],
)
def test_bad_standard_input(path: Path, monkeypatch: Patch, capsys: Output, content: bytes, error: str) -> None:
    give_stdin(monkeypatch, content)
    assert passwd("-c", *QUICK, path, "alice") == 1
    assert capsys.readouterr().err == f"noctule: {error}\n"
    assert not path.exists()


def test_an_existing_file_is_not_replaced_unasked(path: Path, monkeypatch: Patch, capsys: Output) -> None:
    passwd("-c", *QUICK, "-b", path, "alice", "one")
    capsys.readouterr()
    give_stdin(monkeypatch, b"two\n")
    assert passwd("-c", *QUICK, path, "bob") == 1
    assert capsys.readouterr().err == (
        f"noctule: {path} exists, and -c would replace it with all its users: leave -c out, or remove it first\n"
    )
    assert list(read_passwords(path).entries) == ["alice"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ([], "FILE and USER missing"),
        (["f"], "USER missing"),
        (["-b", "f", "u"], "PASSWORD missing"),
        (["-U"], "FILE missing"),
        (["-D", "f"], "USER missing"),
        (["f", "u", "p"], "expected FILE USER and nothing after; options come before; a password on the command line "),
        (["-U", "f", "u"], "expected FILE and nothing after; options come before"),
        (["f", "u", "-c"], "expected FILE USER and nothing after"),
        (["-c", "-D", "f", "u"], "argument -D: not allowed with argument -c"),
        (["-c", "-U", "f"], "argument -U: not allowed with argument -c"),
        (["-D", "-U", "f"], "argument -U: not allowed with argument -D"),
        (["-b", "-D", "f", "u"], "-b goes with a password, which -D does not take"),
        (["-b", "-U", "f"], "-b goes with a password, which -U does not take"),
        (["-H", "md5", "f", "u"], "argument -H: invalid choice: 'md5'"),
        (["-I", "5", "f", "u"], "-I is for -H sha512-pbkdf2"),
        (["-H", "sha512-pbkdf2", "-I", "0", "f", "u"], "-I 0: expected 1 to 1000000"),
        (["-H", "sha512-pbkdf2", "-I", "x", "f", "u"], "argument -I: invalid int value: 'x'"),
        (["-", "u"], "- in place of a file goes with -c"),
        (["-D", "-", "u"], "- in place of a file goes with -c"),
    ],
)
def test_wrong_usage(arguments: list[str], error: str, tmp_path: Path, monkeypatch: Patch, capsys: Output) -> None:
    monkeypatch.chdir(tmp_path)
    assert passwd(*arguments) == 2
    printed = capsys.readouterr()
    assert printed.err.splitlines()[-1].startswith(f"noctule passwd: error: {error}")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["-b", "PATH", "alice", ""], "noctule: the password is empty\n"),
        (["-b", "PATH", "a:b", "x"], "noctule: \"a:b\" has a ':', which ends a user name in the file\n"),
        (["-b", "PATH", "", "x"], "noctule: the user name is empty\n"),
        (["-b", "PATH", "\udc80", "x"], "noctule: the user name is not UTF-8\n"),
        (["-b", "PATH", "#a", "x"], "noctule: \"#a\" begins or ends with a blank, or begins with '#', which a file "),
        (["-b", "PATH/none", "alice", "x"], "noctule: there is no file PATH/none; -c makes it\n"),
        (["-c", "-b", "PATH/none/none", "alice", "x"], "PATH/none/none: error: cannot be written: Not a directory\n"),
        (["-D", "PATH", "bob"], 'noctule: PATH has no user "bob"\n'),
        (["-D", "PATH.none", "bob"], "PATH.none: error: cannot be read: No such file or directory; make it with "),
    ],
)
def test_what_is_not_done(path: Path, capsys: Output, arguments: list[str], error: str) -> None:
    passwd("-c", *QUICK, "-b", path, "alice", "one")
    content = path.read_bytes()
    capsys.readouterr()
    assert passwd(*QUICK, *(argument.replace("PATH", str(path)) for argument in arguments)) == 1
    assert capsys.readouterr().err.startswith(error.replace("PATH", str(path)))
    assert path.read_bytes() == content


def test_plain_text_is_hashed(path: Path, capsys: Output) -> None:
    path.write_text("alice:secret\nbob:x\n")
    path.chmod(0o600)
    assert passwd(*QUICK, "-U", path) == 0
    assert capsys.readouterr().out == f"2 passwords hashed in {path}\n"
    assert matches(path, "alice", b"secret")
    path.write_text("alice:a:b\n")
    assert passwd("-U", path) == 1
    assert capsys.readouterr().err.startswith(f"{path}:1: error: the password of \"alice\" has a ':'")


def test_it_says_that_a_file_was_open_to_others(path: Path, capsys: Output) -> None:
    passwd("-c", *QUICK, "-b", path, "alice", "one")
    path.chmod(0o644)
    capsys.readouterr()
    assert passwd(*QUICK, "-b", path, "alice", "two") == 0
    assert capsys.readouterr().err == (
        f"noctule: warning: {path} was open to others (mode 0644) and is not any more (mode 0640); the user that the "
        "broker runs as must own it, or be in its group\n"
    )


def at_terminal(arguments: list[str | Path], answers: list[tuple[bytes, bytes]]) -> tuple[int, bytes]:
    """Run the command at a terminal of its own; ``answers`` are prompts and what is typed then."""
    terminal, its_side = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=its_side,
        stdout=its_side,
        stderr=its_side,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    os.close(its_side)
    shown = b""
    waiting = list(answers)
    while True:
        readable, _, _ = select.select([terminal], [], [], DEADLINE_S)
        assert readable, f"nothing more after {shown!r}"
        try:
            received = os.read(terminal, 1024)
        except OSError:  # EIO: the other side is closed
            break
        if not received:
            break
        shown += received
        while waiting and shown.endswith(waiting[0][0]):
            os.write(terminal, waiting.pop(0)[1])
    os.close(terminal)
    assert not waiting, f"not asked: {waiting[0][0]!r}"
    return process.wait(DEADLINE_S), shown


def test_at_a_terminal(path: Path) -> None:
    twice = [(b"Password: ", b"se cret\n"), (b"Reenter password: ", b"se cret\n")]
    code, shown = at_terminal(["-c", *QUICK, path, "alice"], twice)
    assert (code, b"cret" in shown) == (0, False), shown
    assert matches(path, "alice", b"se cret")

    code, shown = at_terminal([*QUICK, path, "alice"], [twice[0], (b"Reenter password: ", b"other\n")])
    assert (code, b"the passwords are not the same; nothing is changed" in shown) == (1, True)

    question = f"{path} exists. Replace it with all its users? (y/n) ".encode()
    code, _ = at_terminal(["-c", *QUICK, path, "bob"], [(question, b"n\n")])
    assert code == 1
    assert matches(path, "alice", b"se cret")

    code, _ = at_terminal(["-c", *QUICK, path, "bob"], [(question, b"y\n"), *twice])
    assert code == 0
    assert list(read_passwords(path).entries) == ["bob"]


def test_at_once(path: Path) -> None:
    """Processes that start together: each user is there after, and the file is good at every moment."""
    passwd("-c", *QUICK, "-b", path, "alice", "one")
    running = [
        subprocess.Popen([*COMMAND, *QUICK, "-b", path, f"user{number}", "x"], env=ENVIRONMENT, stdout=subprocess.PIPE)
        for number in range(10)
    ]
    while any(process.poll() is None for process in running):
        assert "alice" in read_passwords(path).entries
    for process in running:
        process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0
    assert set(read_passwords(path).entries) == {"alice", *(f"user{number}" for number in range(10))}
    assert os.listdir(path.parent) == ["passwd"]
