"""The plugin access_file beside Mosquitto itself: the same ACL file, the same clients, the same topics."""

import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from e2e.process import DEADLINE
from e2e.wire import MQTT5, Wire, field, packet, publish, subscribe
from noctule.api import Access, Client, PluginError
from noctule.plugins.access_file import AccessFile

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin")
pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="not installed: mosquitto (Debian: mosquitto)")

#: Reason codes of PUBACK (3.4.2.1).
SUCCESS, NO_MATCHING_SUBSCRIBERS, NOT_AUTHORIZED = 0x00, 0x10, 0x87

#: Less than Mosquitto's Receive Maximum.
IN_FLIGHT = 15


class Mosquitto:
    """A broker with two listeners: one with the ACL file, and one where anybody may do anything."""

    def __init__(self, folder: Path) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self._folder = folder
        self.judged = Door(0)
        self.open = Door(0)

    def start(self) -> bool:
        """Whether it listens: False where somebody else has taken a port meanwhile, or it has refused the file."""
        self.judged, self.open = Door(free_port()), Door(free_port())
        config = self._folder / "mosquitto.conf"
        config.write_text(
            "per_listener_settings true\nuser root\nset_tcp_nodelay true\nlog_dest stderr\n"
            f"listener {self.judged.port} 127.0.0.1\nallow_anonymous true\nacl_file {self._folder / 'acl.conf'}\n"
            f"listener {self.open.port} 127.0.0.1\nallow_anonymous true\n"
        )
        assert MOSQUITTO is not None
        with (self._folder / "mosquitto.log").open("wb") as log:
            self.process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stdin=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + DEADLINE
        while self.process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                self.open.open_socket().close()
                return True
            time.sleep(0.01)  # it tells nobody when it listens
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(DEADLINE)

    @property
    def log(self) -> str:
        return (self._folder / "mosquitto.log").read_text(errors="replace")


@dataclass
class Door:
    """A port of the broker's."""

    port: int

    def open_socket(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def mosquitto(folder: Path) -> Iterator[Mosquitto]:
    broker = Mosquitto(folder)
    try:
        for _ in range(5):
            if broker.start():
                break
            broker.stop()
        else:
            raise AssertionError(f"Mosquitto does not start: {broker.log}")
        yield broker
    finally:
        broker.stop()


@contextmanager
def connected(door: Door, client_id: str, user_name: str | None) -> Iterator[Wire]:
    flags = 0x02 | 0x80 * (user_name is not None)
    body = field("MQTT") + bytes([MQTT5, flags, 0, 0, 0]) + field(client_id)
    with Wire(door) as wire:  # type: ignore[arg-type]
        wire.send(packet(0x10, body + (b"" if user_name is None else field(user_name))))
        answer = wire.receive()
        assert (answer.first, answer.body[1]) == (0x20, 0), f"refused: {answer}"
        yield wire


def published(wire: Wire, topics: list[str]) -> set[str]:
    """Publish to each topic at QoS 1; where it was allowed."""
    allowed = set()
    for first in range(0, len(topics), IN_FLIGHT):
        batch = dict(enumerate(topics[first : first + IN_FLIGHT], 1))
        wire.send(*(publish(topic, b"x", 1, packet_id, version=MQTT5) for packet_id, topic in batch.items()))
        while batch:
            answer = wire.receive()
            if answer.first == 0x40:  # the rest is what the client has subscribed to itself
                code = answer.body[2] if len(answer.body) > 2 else SUCCESS
                assert code in (SUCCESS, NO_MATCHING_SUBSCRIBERS, NOT_AUTHORIZED), code
                topic = batch.pop(int.from_bytes(answer.body[:2]))
                if code != NOT_AUTHORIZED:
                    allowed.add(topic)
    return allowed


def received(wire: Wire, *filters: str) -> set[str]:
    """Subscribe; the topics of what comes before the broker has answered that and one more request."""
    topics = set()
    wire.send(subscribe(1, *((wanted, 0) for wanted in filters or ["no/such/topic"]), version=MQTT5))
    wire.send(subscribe(2, ("no/such/topic", 0), version=MQTT5))
    while (answer := wire.receive()).first != 0x90 or answer.body[:2] != b"\0\2":
        if answer.type == 3:
            size = struct.unpack(">H", answer.body[:2])[0]
            topics.add(answer.body[2 : 2 + size].decode())
    return topics


CLIENTS = [
    ("lamp", None),
    ("lamp", "ann"),
    ("x", "bob"),
    ("y", "Bob Smith"),
    ("z", "nobody"),
    ("+", "ann"),
    ("a#", None),
    ("q", "a+b"),
    ("%u", "%c"),
    ("$SYS", "$own"),
]

TOPICS = [
    *("a", "a/b", "a/b/c", "a/", "/a", "/", "A", "b", "b/c", "read", "a b", "a b/c d", "%c", "a/%c", "own/%u"),
    *("own/ann", "own/ann/x", "own/bob/x", "own/lamp", "own/x", "dev-lamp", "dev-lamp/ann/x", "lamp/x"),
    *("secret", "secret/ann", "secret/lamp/x", "$other/x", "$other/lamp/x", "$SYS/broker/version"),
    *("$SYS/broker/connection/lamp/state", "$SYS/broker/connection/x/state", "$SYS/x", "$own/x", "ann", "x", "own/%c"),
]

#: What nobody can publish, not even past all rules, so that it never comes.
NOBODYS = "$SYS/x"

FILES = {
    "actions": "topic read a/#\ntopic write b\ntopic readwrite /\nuser ann\ntopic a\ntopic write a/b\ntopic read b/#\n",
    "deny": "topic deny a/b\ntopic a/#\nuser ann\ntopic readwrite a/#\ntopic deny a/b/#\ntopic read a/b\nuser bob\n"
    "topic #\ntopic deny +/b/#\ntopic deny a\n",
    "user again": "user ann\ntopic read a\nuser bob\ntopic read b\nuser ann\ntopic write b\ntopic deny a/b\n",
    "users before patterns": "user ann\ntopic deny a/b\ntopic read a\npattern readwrite a/#\npattern deny secret/#\n"
    "user bob\ntopic secret/#\ntopic write a\n",
    "patterns": "pattern read own/%u/#\npattern write own/%c\npattern dev-%c/%u/x\npattern deny secret/%u\n"
    "pattern readwrite secret/#\npattern %c/x\npattern deny secret/%c/#\n",
    "odd names": "topic a/b\nuser a+b\ntopic a\nuser ann\ntopic b\npattern a/#\npattern b\n",
    "dollar": "topic #\ntopic $SYS/#\ntopic +/x\nuser ann\ntopic readwrite $SYS/broker/#\ntopic $other/#\nuser bob\n"
    "topic readwrite $SYS/broker/connection/+/state\ntopic read $other/+\nuser $own\ntopic $own/x\n"
    "user nobody\ntopic +/broker/version\ntopic $SYS/+/connection/x/#\npattern write $SYS/broker/connection/%c/state\n"
    "pattern read $other/%c/x\n",
    "blanks": "# a comment\n\n   \ntopic  read   a/b  \n  topic write a b\n"
    "user   Bob Smith  \ntopic readwrite a b/c d\n"
    "topic   read\r\nuser ann\r\ntopic deny a b\r\ntopic read a/%c\ntopic read own/%u\ntopic %c\n \t\n",
    "only patterns": "pattern read a/+\npattern write #\n",
    "only a user": "user ann\ntopic a/#\n",
    "denied first": "pattern readwrite #\npattern deny a/#\npattern read a/b\nuser ann\ntopic a/b\n",
}


def ours(path: Path) -> AccessFile:
    return AccessFile(AccessFile.Config(path=path, mosquitto_subscriptions=True))


def access_of(plugin: AccessFile, client_id: str, user_name: str | None) -> Access:
    async def load() -> Access:
        return await plugin.load_access(Client(client_id, user_name, "127.0.0.1", "127.0.0.1:5", "x", 5))

    return trio.run(load)


@dataclass
class Decisions:
    """What one client may do, topic by topic."""

    published: set[str]
    received: set[str]


def theirs(broker: Mosquitto, client_id: str, user_name: str | None) -> Decisions:
    with connected(broker.judged, client_id, user_name) as client, connected(broker.open, "other", None) as other:
        before = received(client, "#", "$SYS/#", "$other/#", "$own/#")  # $SYS is retained
        allowed = published(client, TOPICS)
        received(client)
        published(other, TOPICS)
        return Decisions(allowed, (received(client) | before) & set(TOPICS))


@pytest.mark.parametrize("name", FILES)
def test_the_same_decisions(tmp_path: Path, name: str) -> None:
    path = tmp_path / "acl.conf"
    path.write_text(FILES[name], newline="")
    plugin = ours(path)
    with mosquitto(tmp_path) as broker:
        for client_id, user_name in CLIENTS:
            found = theirs(broker, client_id, user_name)
            access = access_of(plugin, client_id, user_name)
            may_publish = {topic for topic in TOPICS if access.publish_right(topic) is not None}
            may_receive = {topic for topic in TOPICS if access.may_receive(topic)} - {NOBODYS}
            assert sorted(may_publish ^ found.published) == [], (client_id, user_name)
            assert sorted(may_receive ^ found.received) == [], (client_id, user_name)


def test_narrower_where_a_name_has_a_slash(tmp_path: Path) -> None:
    """Mosquitto fills in a name of several levels, which reaches into what is another's; we do not, but to deny."""
    path = tmp_path / "acl.conf"
    path.write_text("pattern readwrite own/%u/#\npattern readwrite own/%c\npattern b/#\npattern deny b/%u\n")
    plugin = ours(path)
    with mosquitto(tmp_path) as broker:
        for client_id, user_name in [("ann/x", "ann"), ("x", "ann/x"), ("bob/x", "/"), ("lamp", "c")]:
            found = theirs(broker, client_id, user_name)
            access = access_of(plugin, client_id, user_name)
            assert {topic for topic in TOPICS if access.publish_right(topic) is not None} <= found.published
            assert {topic for topic in TOPICS if access.may_receive(topic)} <= found.received
            if "/" in client_id + user_name:
                assert not access.may_receive("own/ann/x") or user_name == "ann"


#: What Mosquitto refuses, and we with it.
REFUSED = [
    *("topic\n", "pattern \n", "user\n", "user  \t\n", "topic a b\n", "topic Read a\n", "topics a\n", " # comment\n"),
    *("topic\tread a\n", "topic read a+\n", "topic read #/a\n", "pattern a/#/b\n", "read a\n", "topic a\nuse bob\n"),
]


@pytest.mark.parametrize("text", REFUSED)
def test_the_same_files_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "acl.conf"
    path.write_text(text)
    with pytest.raises(PluginError):
        ours(path)
    broker = Mosquitto(tmp_path)
    try:
        assert not broker.start(), "Mosquitto takes it"
        assert "acl_file" in broker.log, broker.log
    finally:
        broker.stop()
