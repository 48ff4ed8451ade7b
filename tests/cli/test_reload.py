"""SIGHUP: a file that has changed, one that is broken, and plugins whose options have changed."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from noctule.auth.password_file_changes import remove_user, set_password
from noctule.auth.password_hashes import HashKind, make_hash

DEADLINE_S = 20.0

HASH = make_hash(b"x", HashKind.SHA512_PBKDF2, iterations=1)

PLUGIN = """\
from dataclasses import dataclass

from noctule.api import Allow, Deny, PluginError, hookimpl


@dataclass(frozen=True)
class GateConfig:
    users: tuple[str, ...]


class Plugin:
    Config = GateConfig

    def __init__(self, config):
        self.users = config.users

    @hookimpl
    async def authenticate(self, client):
        return Allow() if client.user_name in self.users else None

    @hookimpl
    def recheck(self, client):
        return None if client.user_name in self.users else Deny("gone")

    @hookimpl
    async def prepare_reload(self, config):
        if "crash" in config.users:
            raise RuntimeError("boom")
        if "nobody" in config.users:
            raise PluginError("nobody is nobody")
        def take_effect():
            self.users = config.users
        return take_effect
"""


class Running:
    """A broker process whose log is read line by line."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self._process = process
        self.path = path
        self.port = int(self.until(r"mqtt://127\.0\.0\.1:(\d+)")[-1].rpartition(":")[2].partition(",")[0])

    def until(self, pattern: str) -> list[str]:
        """The lines up to the first that has the pattern."""
        assert self._process.stderr is not None
        lines = []
        for line in self._process.stderr:
            lines.append(line.rstrip("\n"))
            if re.search(pattern, line):
                return lines
        raise AssertionError("the broker has ended: " + "\n".join(lines))

    def reload(self, text: str | None = None) -> str:
        """Write the file, send SIGHUP; what the log says of it."""
        if text is not None:
            self.path.write_text(text, encoding="utf-8")
        self._process.send_signal(signal.SIGHUP)
        return "\n".join(self.until("is in effect|Nothing has changed"))

    def connect(self, user_name: str | None = None, password: bytes | None = None) -> tuple[socket.socket, bytes]:
        """A connection of version 5, and its CONNACK."""
        name = b"" if user_name is None else bytes([0, len(user_name)]) + user_name.encode()
        secret = b"" if password is None else bytes([0, len(password)]) + password
        flags = 0x02 | (0x80 if name else 0) | (0x40 if secret else 0)
        body = b"\x00\x04MQTT\x05" + bytes([flags]) + b"\x00\x00\x00\x00\x00" + name + secret
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE_S)
        connection.sendall(b"\x10" + bytes([len(body)]) + body)
        return connection, connection.recv(200)

    def code(self, user_name: str | None = None) -> int:
        """The reason code of a CONNACK."""
        connection, connack = self.connect(user_name)
        with connection:
            return connack[3]


@contextmanager
def running(folder: Path, text: str) -> Iterator[Running]:
    path = folder / "noctule.toml"
    path.write_text(text, encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "noctule", "run", "-c", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    ) as process:
        try:
            found = Running(process, path)
            found.until("State is|Only this machine|Other machines")
            yield found
        finally:
            process.send_signal(signal.SIGTERM)
            _, rest = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 0, rest


def limits(receive_maximum: int) -> str:
    return f"[[listeners]]\nport = 0\n[limits]\nreceive_maximum = {receive_maximum}\n"


def gate(*users: str) -> str:
    return f"[[listeners]]\nport = 0\n[plugins.gate]\nplugin = 'gate.py'\nusers = {list(users)!r}\n"


def test_other_limits(tmp_path: Path) -> None:
    """For who connects from then on; who is connected stays."""
    with running(tmp_path, limits(259)) as broker:
        connection, connack = broker.connect()
        with connection:
            assert b"\x21\x01\x03" in connack
            said = broker.reload(limits(260))
            assert "Changed: limits.receive_maximum: 259 → 260" in said
            second, connack = broker.connect()
            second.close()
            assert b"\x21\x01\x04" in connack
            connection.sendall(b"\xc0\x00")
            assert connection.recv(10) == b"\xd0\x00"


def test_nothing_new(tmp_path: Path) -> None:
    with running(tmp_path, limits(259)) as broker:
        assert broker.reload().endswith("The configuration is in effect; no option has changed")


def test_files_that_were_read_again_are_named(tmp_path: Path) -> None:
    """No option has changed, and yet something else is in effect."""
    users, rules = tmp_path / "passwd", tmp_path / "acl"
    users.touch(0o600)
    set_password(users, "ann", HASH)
    set_password(users, "bob", HASH)
    rules.write_text("topic read a\n")
    text = "[[listeners]]\nport = 0\n[plugins.password_file]\npath = 'passwd'\n"
    with running(tmp_path, text + "[plugins.access_file]\npath = 'acl'\n") as broker:
        said = broker.reload()
        assert f"INFO Read {users} again: 2 users, as before\n" in said
        assert f"INFO Read {rules} again\n" in said
        assert said.endswith("The configuration is in effect; no option has changed")
        remove_user(users, "bob")
        for name in ("cat", "dan"):
            set_password(users, name, HASH)
        set_password(users, "ann", make_hash(b"y", HashKind.SHA512_PBKDF2, iterations=1))
        said = broker.reload()
        assert f"INFO Read {users} again: 3 users; 2 new, 1 with another password, 1 gone\n" in said


def test_what_needs_a_restart_is_not_called_in_effect(tmp_path: Path) -> None:
    """Until then it is told at each reload, and what was there goes on."""
    (tmp_path / "gate.py").write_text(PLUGIN, encoding="utf-8")
    with running(tmp_path, gate("ann")) as broker:
        assert broker.code("ann") == 0
        for _ in range(2):
            said = broker.reload("durability = 'memory'\n" + limits(260))
            assert "Changed: plugin gate: removed (needs a restart)" in said
            assert 'Changed: durability: "disk" → "memory" (needs a restart)' in said
            assert said.endswith("The configuration is in effect, but for 3 changes that need a restart")
        assert broker.code("ann") == 0
        assert broker.code("bob") == 0x87
        assert broker.code() == 0x87, "the plugin that decides is there still"
        assert broker.reload(gate("ann")).endswith("The configuration is in effect")


def test_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, limits(259)) as broker:
        said = broker.reload(limits(260) + "max_qeued_messages = 5\nreceive_maximum = 5\n")
        assert "ERROR" in said
        assert f"{broker.path}:" in said
        assert "Nothing has changed: 1 error in the configuration" in said
        said = broker.reload(limits(260) + "max_qeued_messages = 5\n")
        assert re.search(
            rf"ERROR {re.escape(str(broker.path))}:5: limits\.max_qeued_messages: .*max_queued_messages", said
        )
        connection, connack = broker.connect()
        connection.close()
        assert b"\x21\x01\x03" in connack
        assert "259 → 260" in broker.reload(limits(260))


def test_a_file_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path, limits(259)) as broker:
        broker.path.unlink()
        assert "Nothing has changed" in broker.reload()
        assert broker.code() == 0


def test_settings_under_which_nobody_could_connect(tmp_path: Path) -> None:
    with running(tmp_path, limits(259)) as broker:
        said = broker.reload(f"allow_anonymous = false\n{limits(259)}")
        assert "Nothing has changed" in said
        assert broker.code() == 0


def test_options_of_a_plugin(tmp_path: Path) -> None:
    """Who is gone is disconnected, who stays stays, and a plugin that refuses or fails keeps everything."""
    (tmp_path / "gate.py").write_text(PLUGIN, encoding="utf-8")
    with running(tmp_path, gate("ann", "bob")) as broker:
        ann, connack = broker.connect("ann")
        assert connack[3] == 0
        bob, connack = broker.connect("bob")
        assert connack[3] == 0
        with ann, bob:
            assert broker.code("cat") == 0x87
            said = broker.reload(gate("bob", "cat", "nobody"))
            assert "Nothing has changed: plugin gate: nobody is nobody" in said
            said = broker.reload(gate("bob", "cat", "crash"))
            assert "Nothing has changed: plugin gate: prepare_reload has failed: RuntimeError('boom')" in said
            said = broker.reload(gate("bob", "cat").replace("users", "usres"))
            assert re.search(r"noctule\.toml:5: plugins\.gate\.usres: .*users", said)
            assert broker.code("cat") == 0x87
            ann.sendall(b"\xc0\x00")
            assert ann.recv(10) == b"\xd0\x00"
            said = broker.reload(gate("bob", "cat"))
            assert "Changed: plugin gate: changed: users" in said
            assert ann.recv(10) == b"\xe0\x01\x87"
            assert broker.code("cat") == 0
            assert broker.code("ann") == 0x87
            bob.sendall(b"\xc0\x00")
            assert bob.recv(10) == b"\xd0\x00"


def test_a_plugin_that_is_added_takes_a_restart_and_the_log_says_so(tmp_path: Path) -> None:
    (tmp_path / "gate.py").write_text(PLUGIN, encoding="utf-8")
    with running(tmp_path, limits(259)) as broker:
        said = broker.reload("allow_anonymous = true\n" + gate("ann"))
        assert "Changed: plugin gate: added (needs a restart)" in said


def test_a_password_file_that_was_emptied_changes_nothing(tmp_path: Path) -> None:
    """Whoever empties a file locks everybody out, or writes it at this moment: the old one holds until it is whole."""
    users = tmp_path / "passwd"
    users.touch(0o600)
    set_password(users, "ann", HASH)
    text = "[[listeners]]\nport = 0\n[plugins.password_file]\npath = 'passwd'\n"
    with running(tmp_path, text) as broker:
        connection, connack = broker.connect("ann", b"x")
        with connection:
            assert connack[3] == 0
            good = users.read_text()
            users.write_text("")
            said = broker.reload(text + "[limits]\nreceive_maximum = 259\n")
            assert f"Nothing has changed: plugin password_file: {users}:1: error: no users any more" in said
            connection.sendall(b"\xc0\x00")
            assert connection.recv(10) == b"\xd0\x00"
            users.write_text(good)
            assert "receive_maximum" in broker.reload()
            connection.sendall(b"\xc0\x00")
            assert connection.recv(10) == b"\xd0\x00"
