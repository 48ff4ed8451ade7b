"""``noctule pub`` and ``noctule sub``: what each option sends, what is printed, and the exit code."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio
from client.scripted_server import ScriptedServer
from noctule.cli.main import main
from noctule.protocol import Connect, ProtocolVersion, decode_connect

CONNACK = b"\x20\x02\x00\x00"
CONNACK_5 = b"\x20\x03\x00\x00\x00"
DISCONNECT = b"\xe0\x00"
NEVER = 0xFFFF_FFFF

Script = Callable[[ScriptedServer], Awaitable[None]]


@asynccontextmanager
async def listening(script: Script) -> AsyncIterator[int]:
    """A server on a port of this machine that plays the script once; it has been played when the block is left."""

    async def play(stream: trio.SocketStream) -> None:
        async with stream:
            await script(ScriptedServer(stream))
        played.set()

    played = trio.Event()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, play, 0)
        yield listeners[0].socket.getsockname()[1]
        with trio.fail_after(5):
            await played.wait()
        nursery.cancel_scope.cancel()


def run(command: str, *options: str, script: Script) -> int:
    """The exit code of a command that talks to a server of this script."""

    async def act() -> int:
        with trio.fail_after(20):
            async with listening(script) as port:
                arguments = [command, "-h", "127.0.0.1", "-p", str(port), *options]
                return await trio.to_thread.run_sync(main, arguments)

    return trio.run(act)


def taking(*packets: bytes, connack: bytes = CONNACK, answers: dict[int, bytes] | None = None) -> Script:
    """A server that accepts, expects these packets and then DISCONNECT, and answers by packet type."""

    async def script(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(connack)
        for packet in (*packets, DISCONNECT):
            assert await server.packet() == packet
            if answers and packet[0] >> 4 in answers:
                await server.send(answers[packet[0] >> 4])

    return script


def giving(*packets: bytes, suback: bytes = b"\x90\x03\x00\x01\x00") -> Script:
    """A server that accepts a connection and a subscription and sends these packets, until the client leaves."""

    async def script(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(CONNACK)
        assert (await server.packet())[0] == 0x82
        await server.send(suback, *packets)
        while packet := await server.packet():
            if packet == DISCONNECT:
                break

    return script


@pytest.fixture
def standard_input(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Puts bytes where the command reads its standard input."""
    with contextlib.ExitStack() as files:

        def put(data: bytes) -> None:
            reading, writing = os.pipe()
            os.write(writing, data)
            os.close(writing)
            monkeypatch.setattr(sys, "stdin", files.enter_context(os.fdopen(reading)))

        yield put


# pub


@pytest.mark.parametrize(
    ("options", "packets"),
    [
        (["-m", "hé"], [b"\x30\x06\x00\x01th\xc3\xa9"]),
        (["-m", ""], [b"\x30\x03\x00\x01t"]),
        (["-n"], [b"\x30\x03\x00\x01t"]),
        (["-n", "-r"], [b"\x31\x03\x00\x01t"]),
        (["-s"], [b"\x30\x08\x00\x01ta\n\nb\n"]),
        (["-l"], [b"\x30\x04\x00\x01ta", b"\x30\x03\x00\x01t", b"\x30\x04\x00\x01tb"]),
    ],
)
def test_pub_sends(options: list[str], packets: list[bytes], standard_input: Any, capfd: Any) -> None:
    standard_input(b"a\n\nb\n")
    assert run("pub", "-t", "t", *options, script=taking(*packets)) == 0
    assert capfd.readouterr() == ("", "")


def test_pub_sends_the_last_line_without_its_end(standard_input: Any) -> None:
    standard_input(b"a\nb")
    assert run("pub", "-t", "t", "-l", script=taking(b"\x30\x04\x00\x01ta", b"\x30\x04\x00\x01tb")) == 0


def test_pub_sends_a_file(tmp_path: Path) -> None:
    file = tmp_path / "payload"
    file.write_bytes(b"\x00\xff")
    assert run("pub", "-t", "t", "-f", str(file), script=taking(b"\x30\x05\x00\x01t\x00\xff")) == 0


def test_pub_waits_for_the_acknowledgement() -> None:
    script = taking(b"\x32\x06\x00\x01t\x00\x01x", answers={3: b"\x40\x02\x00\x01"})
    assert run("pub", "-t", "t", "-m", "x", "-q", "1", script=script) == 0


def test_pub_warns_of_a_refused_message(capfd: Any) -> None:
    script = taking(b"\x32\x07\x00\x01t\x00\x01\x00x", connack=CONNACK_5, answers={3: b"\x40\x03\x00\x01\x87"})
    assert run("pub", "-t", "t", "-m", "x", "-q", "1", "-V", "5", script=script) == 0
    assert capfd.readouterr() == ("", "Warning: Publish 1 failed: Not authorized.\n")


def test_debug_shows_the_packets(capfd: Any) -> None:
    script = taking(b"\x32\x06\x00\x01t\x00\x01x", answers={3: b"\x40\x02\x00\x01"})
    assert run("pub", "-i", "me", "-t", "t", "-m", "x", "-q", "1", "-d", script=script) == 0
    assert capfd.readouterr().out.splitlines() == [
        "Client me sending CONNECT",
        "Client me received CONNACK (0)",
        "Client me sending PUBLISH (d0, q1, r0, m1, 't', ... (1 bytes))",
        "Client me received PUBACK (Mid: 1, RC:0)",
        "Client me sending DISCONNECT",
    ]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], Connect(ProtocolVersion.V3_1_1, "", True, 60)),
        (["-i", "me", "-k", "5"], Connect(ProtocolVersion.V3_1_1, "me", True, 5)),
        (["-V", "mqttv5", "-u", "ü"], Connect(ProtocolVersion.V5, "", True, 60, user_name="ü")),
        (
            ["-u", "u", "-P", "pä", "-V", "311"],
            Connect(ProtocolVersion.V3_1_1, "", True, 60, user_name="u", password="pä".encode()),
        ),
        (
            ["-i", "me", "-c", "-V", "5"],
            Connect(ProtocolVersion.V5, "me", False, 60, session_expiry_interval_s=NEVER),
        ),
        (["-i", "me", "-c"], Connect(ProtocolVersion.V3_1_1, "me", False, 60, session_expiry_interval_s=NEVER)),
        (["-i", "me", "-V", "31"], Connect(ProtocolVersion.V3_1, "me", True, 60)),
    ],
)
def test_the_options_of_the_connection(options: list[str], expected: Connect) -> None:
    received = []

    async def script(server: ScriptedServer) -> None:
        packet = await server.packet()
        received.append(decode_connect(packet[2:]))
        await server.send(b"\x20\x02\x00\x05" if received[0].version < 5 else b"\x20\x03\x00\x87\x00")

    assert run("pub", "-t", "t", "-n", *options, script=script) in (5, 0x87)
    # How many messages it takes at once is the client's own matter.
    assert received == [replace(expected, receive_maximum=received[0].receive_maximum)]


def test_version_3_1_gets_a_client_identifier() -> None:
    received = []

    async def script(server: ScriptedServer) -> None:
        received.append(decode_connect((await server.packet())[2:]))
        await server.send(b"\x20\x02\x00\x05")

    run("pub", "-t", "t", "-n", "-V", "31", script=script)
    assert 1 <= len(received[0].client_id) <= 23  # the limit of 3.1


# sub


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (["-C", "4"], b"a\n\x00\xff\nb\n"),
        (["-C", "4", "-v"], b"t a\nt (null)\n\xc3\xbc \x00\xff\nt b\n"),
        (["-C", "1"], b"a\n"),
    ],
)
def test_sub_prints(options: list[str], output: bytes, capfdbinary: Any) -> None:
    script = giving(
        b"\x30\x04\x00\x01ta", b"\x30\x03\x00\x01t", b"\x30\x06\x00\x02\xc3\xbc\x00\xff", b"\x30\x04\x00\x01tb"
    )
    assert run("sub", "-t", "t", *options, script=script) == 0
    assert capfdbinary.readouterr() == (output, b"")


def test_sub_asks_for_every_filter() -> None:
    script = taking(
        b"\x82\x0d\x00\x01\x00\x03a/#\x01\x00\x02+/\x01",
        answers={8: b"\x90\x04\x00\x01\x01\x80" + b"\x30\x04\x00\x01ta"},
    )
    assert run("sub", "-t", "a/#", "-t", "+/", "-q", "1", "-C", "1", script=script) == 0


def test_sub_that_is_denied(capfd: Any) -> None:
    assert run("sub", "-t", "t", script=giving(suback=b"\x90\x03\x00\x01\x80")) == 1
    assert capfd.readouterr() == ("", "All subscription requests were denied.\n")


def test_sub_times_out(capfd: Any) -> None:
    assert run("sub", "-t", "t", "-W", "1", script=giving(b"\x30\x04\x00\x01ta")) == 27
    assert capfd.readouterr() == ("a\n", "Timed out\n")


def test_sub_comes_back_to_a_server_that_goes(capfd: Any) -> None:
    """As mosquitto_sub does: it subscribes again, and goes on."""
    visits = []

    async def script(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(CONNACK)
        subscribe = await server.packet()
        assert subscribe[0] == 0x82
        visits.append(1)
        await server.send(b"\x90\x03" + subscribe[2:4] + b"\x00")
        if len(visits) == 1:
            await server.send(b"\x30\x04\x00\x01ta")
            return
        await server.send(b"\x30\x04\x00\x01tb")
        await server.packet()

    assert run("sub", "-t", "t", "-C", "2", script=script) == 0
    assert capfd.readouterr() == ("a\nb\n", "")
    assert len(visits) == 2


# Trouble


@pytest.mark.parametrize("command", [["pub", "-m", "x"], ["sub"]])
@pytest.mark.parametrize(
    ("version", "connack", "code", "line"),
    [
        ("31", b"\x20\x02\x00\x03", 3, "Connection error: Server unavailable\n"),
        ("311", b"\x20\x02\x00\x05", 5, "Connection error: Not authorized\n"),
        ("5", b"\x20\x03\x00\x87\x00", 0x87, "Connection error: Not authorized\n"),
        ("5", b"\x20\x09\x00\x86\x06\x1f\x00\x03why", 0x86, "Connection error: Bad User Name or Password (why)\n"),
    ],
)
def test_a_refusal_is_the_exit_code(
    command: list[str], version: str, connack: bytes, code: int, line: str, capfd: Any
) -> None:
    async def script(server: ScriptedServer) -> None:
        await server.packet()
        await server.send(connack)

    assert run(*command, "-t", "t", "-V", version, script=script) == code
    assert capfd.readouterr() == ("", line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["pub", "-t", "t"], "Both topic and message must be supplied."),
        (["pub", "-m", "x"], "Both topic and message must be supplied."),
        (["pub", "-t", "t", "-m", "x", "-n"], "Only one type of message can be sent at once."),
        (["pub", "-t", "t", "-m", "x", "-m", "y"], "Only one type of message can be sent at once."),
        (["pub", "-t", "a/+", "-m", "x"], "Invalid publish topic 'a/+', does it contain '+' or '#'?"),
        (
            ["pub", "-t", "t", "-f", "/does/not/exist"],
            'Unable to open file "/does/not/exist": No such file or directory',
        ),
        (["pub", "-t", "t", "-m", "x", "-q", "3"], "Invalid QoS given: 3"),
        (["pub", "-t", "t", "-m", "x", "-q", "-1"], "Invalid QoS given: -1"),
        (["pub", "-t", "t", "-m", "x", "-p", "0"], "Invalid port given: 0"),
        (["pub", "-t", "t", "-m", "x", "-p", "65536"], "Invalid port given: 65536"),
        (["pub", "-t", "t", "-m", "x", "-V", "4"], "Invalid protocol version argument given."),
        (
            ["pub", "-t", "t", "-m", "x", "-k", "4"],
            "Invalid keepalive given, it must be between 5 and 65535 inclusive.",
        ),
        (["pub", "-t", "t", "-m", "x", "-c"], "You must provide a client id if you are using the -c option."),
        (["sub"], "You must specify a topic to subscribe to (-t) or unsubscribe from (-U)."),
        (["sub", "-t", "a+"], "Invalid subscription topic 'a+', are all '+' and '#' wildcards correct?"),
        (["sub", "-t", "a", "-C", "0"], 'Invalid message count "0".'),
        (["sub", "-t", "a", "-W", "x"], 'Invalid timeout "x".'),
        (
            ["pub", "-t", "t", "-m", "x", "-i", "a\nb"],
            "Invalid input: a string that MQTT does not allow: a control character",
        ),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], line: str, capfd: Any) -> None:
    assert main(arguments) == 1
    assert capfd.readouterr() == ("", f"Error: {line}\n")


def test_empty_input_is_no_message(standard_input: Any, capfd: Any) -> None:
    standard_input(b"")
    assert main(["pub", "-t", "t", "-s"]) == 1
    assert capfd.readouterr() == ("", "Error: Zero length input.\n")


@pytest.mark.parametrize("command", [["pub", "-m", "x"], ["sub"]])
def test_nobody_there_is_one_line(command: list[str], capfd: Any) -> None:
    async def free_port() -> int:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port: int = listener.socket.getsockname()[1]
        await listener.aclose()
        return port

    port = trio.run(free_port)
    assert main([*command, "-t", "t", "-h", "127.0.0.1", "-p", str(port)]) == 1
    assert capfd.readouterr() == ("", f"Error: mqtt://127.0.0.1:{port} cannot be reached: Connection refused\n")


def test_a_password_needs_a_name(capfd: Any) -> None:
    assert run("pub", "-t", "t", "-m", "x", "-P", "p", script=taking(b"\x30\x04\x00\x01tx")) == 0
    assert capfd.readouterr().err == "Warning: Not using password since username not set.\n"
