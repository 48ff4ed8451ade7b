"""The first hour of a newcomer, by the README alone: an empty home, a fresh environment, its commands word by word.

And after it what tutorials tell people to run, for paho 1.x and 2.x.
"""

import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging_support.scratch_root import lacking

ROOT = Path(__file__).parent.parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MISSING = lacking("unshare", "nsenter", "mosquitto_pub", "mosquitto_sub")
DEADLINE_S = 60.0

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(bool(MISSING), reason=f"the machine lacks {', '.join(MISSING)}"),
]

#: Commands of the README that are not for this test: they build, or install what the machine has.
ELSEWHERE = ("make ", "docker ", "apt", "sudo ", "git ")

#: A network in which port 1883 is free, whatever else runs on this machine.
NETWORK = """
import fcntl, os, socket, struct, sys
with socket.socket() as any_socket:
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))
print("up", flush=True)
sys.stdin.read()
"""


def shell_commands(text: str) -> list[str]:
    """The commands of the README's code blocks, indented or fenced, in their order."""
    fenced = re.findall(r"^```(?:sh|shell|bash|console)\n(.*?)^```", text, re.M | re.S)
    indented = re.findall(r"(?:^|\n\n)((?:    \S.*\n)+)", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    lines = "\n".join([*indented, *fenced]).splitlines()
    return [line.strip().removeprefix("$ ") for line in lines if line.strip() and not line.strip().startswith("#")]


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@dataclass
class Newcomer:
    """Somebody with an empty home, an environment, and terminals in one network."""

    home: Path
    wheel: Path
    network: int

    def environment(self) -> dict[str, str]:
        path = f"{self.home}/venv/bin:/usr/local/bin:/usr/bin:/bin"
        kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        return kept | {"HOME": str(self.home), "PATH": path, "LC_ALL": "C.UTF-8", "PYTHONUNBUFFERED": "1"}

    def type(self, command: str, *, online: bool = False) -> str:
        """Type a command and wait for its end; what it printed. ``online``: in the machine's own network, for pip."""
        enter = [] if online else ["nsenter", "--target", str(self.network), "--net", "--"]
        done = subprocess.run(
            [*enter, "sh", "-c", command],
            cwd=self.home,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300 if online else DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def leave_running(self, command: str) -> "Terminal":
        return Terminal(
            subprocess.Popen(
                ["nsenter", "--target", str(self.network), "--net", "--", "sh", "-c", f"exec {command}"],
                cwd=self.home,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )


class Terminal:
    """A command that runs on."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._over = False
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._over = True
            self._changed.notify_all()

    def shows(self, pattern: str) -> None:
        def look() -> bool:
            return self._over or any(re.search(pattern, line) for line in self._lines)

        with self._changed:
            self._changed.wait_for(look, DEADLINE_S)
            assert any(re.search(pattern, line) for line in self._lines), "\n".join(self._lines)

    def end(self) -> int:
        """Ctrl-C's gentler sister; the exit code."""
        self._process.terminate()
        code = self._process.wait(DEADLINE_S)
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return code


@pytest.fixture(scope="module")
def newcomer(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    folder = tmp_path_factory.mktemp("newcomer")
    home = folder / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-I", "-c", NETWORK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as network:
        assert network.stdout is not None
        assert network.stdout.readline() == "up\n"
        yield Newcomer(home, wheel, network.pid)


def test_the_readme(newcomer: Newcomer) -> None:
    """Every command and every program of it, in its order, as they stand there."""
    commands = [command for command in shell_commands(README) if not command.startswith(ELSEWHERE)]
    assert "noctule run" in commands
    broker: Terminal | None = None
    subscribers: list[Terminal] = []
    try:
        for command in commands:
            if command == "pip install .":  # what that builds is in the wheel
                newcomer.type(f"pip install -q {newcomer.wheel}", online=True)
            elif command.startswith("pip "):
                newcomer.type(command, online=True)
            elif command == "noctule run":
                broker = newcomer.leave_running(command)
                broker.shows(r"Listening on mqtt://127\.0\.0\.1:1883")
            elif re.match(r"(mosquitto_|noctule )sub ", command):
                subscribers.append(
                    newcomer.leave_running(f"stdbuf -oL {command} -d" if command.startswith("mosquitto") else command)
                )
                if command.startswith("mosquitto"):
                    subscribers[-1].shows("Subscribed")
            else:
                newcomer.type(command)
        assert broker is not None
        assert subscribers
        for subscriber in subscribers:
            subscriber.shows(r"^house/hall/temperature 21\.5$")
        # "with pip install paho-mqtt": it stands in the text, before the program.
        for package in re.findall(r"`(pip install paho-mqtt)`", README):
            newcomer.type(package, online=True)
        for number, program in enumerate(python_blocks(README)):
            (newcomer.home / f"readme{number}.py").write_text(program, encoding="utf-8")
            assert "21.5" in newcomer.type(f"python readme{number}.py")
    finally:
        for subscriber in subscribers:
            subscriber.end()
        if broker is not None:
            assert broker.end() == 0


def test_make_has_what_the_readme_says() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    said = {command.split()[1] for command in shell_commands(README) if command.startswith("make ")}
    assert said <= targets


#: As the tutorials of paho 1.x have it, word for word but for the topics, and for an end.
PAHO_1 = """
import paho.mqtt.client as mqtt

# The callback for when the client receives a CONNACK response from the server.
def on_connect(client, userdata, flags, rc):
    print("Connected with result code "+str(rc))

    # Subscribing in on_connect() means that if we lose the connection and
    # reconnect then subscriptions will be renewed.
    client.subscribe("tutorial/#")
    client.publish("tutorial/hello", "Hello", qos=1)

# The callback for when a PUBLISH message is received from the server.
def on_message(client, userdata, msg):
    print(msg.topic+" "+str(msg.payload))
    client.disconnect()

client = mqtt.Client()
client.on_connect = on_connect
client.on_message = on_message

client.connect("localhost", 1883, 60)

# Blocking call that processes network traffic, dispatches callbacks and
# handles reconnecting.
client.loop_forever()
"""

#: The same in the words of paho 2.x.
PAHO_2 = (
    PAHO_1.replace("mqtt.Client()", "mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)")
    .replace(
        "def on_connect(client, userdata, flags, rc)",
        "def on_connect(client, userdata, flags, reason_code, properties)",
    )
    .replace('"Connected with result code "+str(rc)', 'f"Connected with result code {reason_code}"')
)

#: With another identity, another protocol, and callbacks left away.
OLD_NAMES = textwrap.dedent(
    """
    import paho.mqtt.client as paho
    import time

    def on_message(client, userdata, message):
        print("received message:", str(message.payload.decode("utf-8")))

    client = paho.Client("old-client", clean_session=False, protocol=paho.MQTTv31)
    client.on_message = on_message
    client.connect("localhost")
    client.loop_start()
    client.subscribe("tutorial/bulb", qos=2)
    client.publish("tutorial/bulb", "on", qos=2).wait_for_publish()
    time.sleep(1)
    client.disconnect()
    client.loop_stop()
    """
)


@pytest.mark.parametrize(
    ("package", "program", "printed"),
    [
        ("paho-mqtt<2", PAHO_1, ["Connected with result code 0", "tutorial/hello b'Hello'"]),
        ("paho-mqtt<2", OLD_NAMES, ["received message: on"]),
        ("paho-mqtt>=2", PAHO_2, ["Connected with result code Success", "tutorial/hello b'Hello'"]),
    ],
)
def test_tutorials(newcomer: Newcomer, package: str, program: str, printed: list[str]) -> None:
    newcomer.type(f"pip install -q {newcomer.wheel} '{package}'", online=True)
    (newcomer.home / "tutorial.py").write_text(program, encoding="utf-8")
    broker = newcomer.leave_running("noctule run")
    try:
        broker.shows("Listening on")
        assert newcomer.type("python tutorial.py").splitlines() == printed
    finally:
        assert broker.end() == 0
