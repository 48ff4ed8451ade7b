"""docs/troubleshooting.md: what a reader does wrong here brings the message that the page has for it."""

import re
import socket
from collections.abc import Iterator

import pytest
from docs.pages import blocks_of, text_of
from docs.terminal import DEADLINE_S, CommandServer, Machine, Program

PAGE = text_of("docs/troubleshooting.md")

CONFIGURATION = """
allow_anonymous = false

[[listeners]]
port = 1883

[[listeners]]
port = 8883
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"

[[listeners]]
port = 9001
protocol = "websocket"
[listeners.websocket]
path = "/mqtt"
origins = ["https://panel.example"]

[logging]
level = "debug"

[plugins.password_file]
path = "users.passwd"

[plugins.access_file.users.ann]
rules = [{ topic = "house/#", allow = ["publish", "receive", "subscribe"] }]
[plugins.access_file.users.bob]
rules = [{ topic = "house/#", allow = ["receive", "subscribe"] }]
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, command_server: CommandServer) -> Iterator[Machine]:
    """A machine whose broker has users, rules, TLS and WebSocket."""
    machine = Machine(tmp_path_factory.mktemp("symptoms"), command_server)
    machine.type("noctule passwd -c users.passwd ann\nnoctule passwd users.passwd bob")
    (recipe,) = [block for block in blocks_of("docs/security.md") if "CN=Our authority" in block.text]
    machine.run_script(recipe)
    machine.write("noctule.toml", CONFIGURATION)
    machine.leave_running("noctule run -c noctule.toml")
    yield machine
    machine.finish()
    machine.close()


def broker_of(machine: Machine) -> Program:
    assert machine.broker is not None
    return machine.broker


def asked(path: str, *headers: str) -> str:
    """What a browser would send to the port of WebSocket."""
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""))


UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)

#: What is done, and what of the page's words the log has then.
SYMPTOMS = [
    ("noctule pub -t a -m x", "nobody knows this client (no user name)"),
    ("noctule pub -u ann -P wrong -t a -m x", "a wrong password (user ann)"),
    ("noctule pub -u dora -P secret -t a -m x", "an unknown user"),
    ("noctule pub -u bob -P secret -t house/x -m x -q 1", "may not publish to house/x"),
    ("noctule sub -u ann -P secret -t '#' -W 1", "may not subscribe to # (no rule covers the whole filter)."),
    (
        "noctule pub -u ann -P secret -t house/x -m x -h localhost --cafile ca.crt",
        "the first packet is not CONNECT: this looks like TLS, which is not spoken on this port",
    ),
    (
        "noctule pub -u ann -P secret -t house/x -m x -p 8883 --no-tls",
        "not TLS: this looks like MQTT in plain text; turn TLS on in the client, or use a port without it",
    ),
    (
        "mosquitto_pub --cafile server.crt -h localhost -p 8883 -u ann -P secret -t house/x -m x",
        "the client does not believe our certificate: it does not know the authority",
    ),
    (asked("/", *UPGRADE), "no WebSocket: expected the path /mqtt"),
    (
        asked("/mqtt", *UPGRADE, "Origin: https://evil.example"),
        "no WebSocket: pages of https://evil.example may not connect here",
    ),
    (asked("/mqtt", *UPGRADE), "no WebSocket: expected the sub-protocol mqtt (Sec-WebSocket-Protocol)"),
    (
        "noctule pub -p 9001 --no-tls -t a -m x",
        "this looks like MQTT without WebSocket, which is not spoken on this port",
    ),
]


def do(machine: Machine, command: str, number: int) -> None:
    """Run the command, or send the request, from an address of this machine that nobody else here comes from: what one
    address does wrong is logged five times in ten seconds."""
    address = f"127.0.0.{number}"
    if command.startswith("GET "):
        send(machine, 9001, command, address)
        return
    words = command.split(" ")
    place = 2 if words[0] == "noctule" else 1
    machine.type(" ".join([*words[:place], "-A", address, *words[place:]]), expect_code=None)


def send(machine: Machine, port: int, request: str, address: str) -> None:
    """Send a request, and wait for the end of the connection."""
    there = ("127.0.0.1", machine.ports[port])
    with socket.create_connection(there, timeout=DEADLINE_S, source_address=(address, 0)) as connection:
        connection.sendall(request.encode())
        while connection.recv(4_096):
            pass


@pytest.mark.parametrize(("number", "command", "message"), [(number, *row) for number, row in enumerate(SYMPTOMS, 10)])
def test_the_log_says_what_the_page_says(house: Machine, number: int, command: str, message: str) -> None:
    assert message.replace("house/x", "plant/secret/x") in PAGE
    broker = broker_of(house)
    before = len(broker.output)
    do(house, command, number)
    broker.shows(re.escape(message), lambda text: text[before:])


def test_http_at_the_port_of_mqtt(house: Machine) -> None:
    broker = broker_of(house)
    send(house, 1883, asked("/"), "127.0.0.60")
    said = "the first packet is not CONNECT: this looks like HTTP or WebSocket, which is not spoken on this port"
    broker.shows(re.escape(said))
    assert said in PAGE


def test_somebody_elses_client_identifier(house: Machine) -> None:
    broker = broker_of(house)
    house.type("noctule sub -u ann -P secret -i pump-7 -c -t house/x -q 1 -E")
    house.type("noctule sub -A 127.0.0.50 -u bob -P secret -i pump-7 -c -t house/x -W 1", expect_code=None)
    said = "the client identifier belongs to user ann, and this is user bob"
    broker.shows(re.escape(said))
    assert said in PAGE


def test_two_clients_with_one_identifier(house: Machine) -> None:
    broker = broker_of(house)
    first = house.leave_running("noctule sub -u ann -P secret -i twin -V 5 -t house/x")
    house.type("noctule sub -u ann -P secret -i twin -t house/x -E")
    broker.shows("Client twin has connected again, closing its old connection")
    first.shows("Session taken over")
    for _ in range(3):
        house.leave_running("noctule sub -u ann -P secret -i twin -V 5 -t house/x")
    broker.shows(r"Client twin has been taken over 3 times within a minute, at last from .*: do two clients have this")
    assert "Session taken over" in PAGE


def test_the_port_is_taken(house: Machine) -> None:
    """By the broker that runs already; and so is its store."""
    for command in ("noctule run --listen 127.0.0.1:1883 --data other", "noctule run --listen 127.0.0.1:0"):
        said = house.type(command, expect_code=1).strip()
        assert re.sub(r"process \d+", "process 7778", said) in PAGE


def test_the_wrong_key(house: Machine) -> None:
    listener = '[[listeners]]\nport = 1884\n[listeners.tls]\ncertificate_file = "server.crt"\nkey_file = "ca.key"\n'
    house.write("wrong.toml", f"allow_anonymous = true\n{listener}")
    said = house.type("noctule run -c wrong.toml --data other", expect_code=1).strip()
    assert said == "noctule: not started: listener 127.0.0.1:1884: key_file ca.key: it is not the key of server.crt"
    assert said.replace("1884", "8883").replace("ca.key", "server.key") in PAGE


def test_too_many_open_files(house: Machine) -> None:
    """A broker that may open few: it says so, and lets in again who waits once there is room."""
    words = "ulimit -n 48; exec noctule run --listen 127.0.0.1:1885 --data few"
    broker = Program(["sh", "-c", house.here(words)], house.home, house.environment)
    connections = []
    try:
        broker.shows("Listening on ")
        for _ in range(60):
            connections.append(socket.create_connection(("127.0.0.1", house.ports[1885]), timeout=DEADLINE_S))
        said = "Cannot accept connections for now: Too many open files. Trying again every 0.1 s (1 times so far)."
        broker.shows(re.escape(said))
        assert said in PAGE
    finally:
        for connection in connections:
            connection.close()
        assert broker.end() == 0


@pytest.mark.parametrize(
    ("configuration", "first_line"),
    [
        (
            "allow_anonymous = true\n[[listeners]]\nprot = 1883\n",
            'noctule.toml:3: error: listeners[0].prot: unknown key; did you mean "port"?',
        ),
        ('[[listeners]]\naddress = "*"\n', "noctule.toml:1: error: listeners[0]: nobody could connect: "),
    ],
)
def test_errors_of_a_configuration(machine: Machine, configuration: str, first_line: str) -> None:
    machine.write("noctule.toml", configuration)
    said = machine.type("noctule run -c noctule.toml", expect_code=3).splitlines()
    assert said[0].startswith(first_line)
    assert "\n".join(said[:1]) in PAGE
    assert said[1:] == ["noctule: not started: 1 error in the configuration"]
    assert said[1] in PAGE
