"""The real mosquitto_passwd and mosquitto: their files are read here, and ours there."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from noctule.auth.password_file import read_passwords
from noctule.auth.password_hashes import Pbkdf2Hash, Sha512Hash
from noctule.cli.main import main

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
PROGRAMS = {name: shutil.which(name, path=PATH) for name in ("mosquitto", "mosquitto_passwd", "mosquitto_pub")}
missing = [name for name, found in PROGRAMS.items() if found is None]
pytestmark = pytest.mark.skipif(
    bool(missing), reason=f"not installed: {', '.join(missing)} (Debian: mosquitto, mosquitto-clients)"
)

DEADLINE_S = 30.0

#: What the exit code of mosquitto_pub is where CONNACK says so: not authorized.
NOT_AUTHORIZED = 5

NAMES_AND_PASSWORDS = [
    ("alice", "secret"),
    ("bob smith", "with blanks : and $6$"),
    ("Zoë", "pässwörd"),
    ("x", "y" * 500),
]


def run(program: str, *arguments: str | Path) -> int:
    command = [str(PROGRAMS[program]), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE_S, check=False).returncode


@pytest.mark.parametrize(("option", "kind"), [("sha512", Sha512Hash), ("sha512-pbkdf2", Pbkdf2Hash)])
def test_we_read_theirs(tmp_path: Path, option: str, kind: type) -> None:
    path = tmp_path / "passwd"
    path.touch()
    for user_name, password in NAMES_AND_PASSWORDS:
        assert run("mosquitto_passwd", "-H", option, "-b", path, user_name, password) == 0
    entries = read_passwords(path).entries
    assert list(entries) == [user_name for user_name, _ in NAMES_AND_PASSWORDS]
    for user_name, password in NAMES_AND_PASSWORDS:
        assert isinstance(entries[user_name].hash, kind)
        assert entries[user_name].hash.matches(password.encode())
        assert not entries[user_name].hash.matches(password.encode() + b"x")


def test_both_change_one_file(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    assert main(["passwd", "-c", "-H", "sha512-pbkdf2", "-I", "7", "-b", str(path), "alice", "one"]) == 0
    assert run("mosquitto_passwd", "-b", path, "bob", "two") == 0
    assert main(["passwd", "-H", "sha512", "-b", str(path), "carol", "three"]) == 0
    assert run("mosquitto_passwd", "-D", path, "alice") == 0
    assert main(["passwd", "-D", str(path), "bob"]) == 0
    assert list(read_passwords(path).entries) == ["carol"]


def test_they_read_ours(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    for number, (user_name, password) in enumerate(NAMES_AND_PASSWORDS):
        kind = ["-H", "sha512-pbkdf2", "-I", "210"] if number % 2 == 0 else ["-H", "sha512"]
        create = ["-c"] if number == 0 else []
        assert main(["passwd", *create, *kind, "-b", str(path), user_name, password]) == 0
    with mosquitto(tmp_path, path) as port:
        for user_name, password in NAMES_AND_PASSWORDS:
            assert log_in(port, user_name, password) == 0
            assert log_in(port, user_name, password + "x") == NOT_AUTHORIZED
        assert log_in(port, "nobody", "secret") == NOT_AUTHORIZED


def log_in(port: int, user_name: str, password: str) -> int:
    where = ("-h", "127.0.0.1", "-p", str(port), "-V", "311")
    return run("mosquitto_pub", *where, "-u", user_name, "-P", password, "-t", "t", "-m", "m")


@contextmanager
def mosquitto(folder: Path, password_file: Path) -> Iterator[int]:
    """The broker with this password file; the port that it listens on."""
    password_file.chmod(0o644)  # it is another user than we are where we are root
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        configuration = folder / "mosquitto.conf"
        configuration.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {password_file}\nuser root\n"
        )
        process = subprocess.Popen(
            [str(PROGRAMS["mosquitto"]), "-c", str(configuration)], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        try:
            if listens(process):
                yield port
                return
        finally:
            process.terminate()
            process.communicate(timeout=DEADLINE_S)
    raise AssertionError("mosquitto does not start")


def listens(process: "subprocess.Popen[bytes]") -> bool:
    """Whether it does, which it says; False where it has ended: somebody else was quicker at this port."""
    assert process.stderr is not None
    return any(line.rstrip().endswith(b" running") for line in process.stderr)
