"""The format language of ``-F``, JSON, and how messages stand on a terminal and in a pipe."""

import json
import struct
import sys
import time
from typing import Any

import pytest
from noctule.cli.message_format import MessageFormat, Moment
from noctule.cli.message_json import NotJsonError, message_json
from noctule.cli.message_output import OutputOptions, Printer
from noctule.client import Message
from noctule.protocol import PropertyId

MOMENT = Moment(1_770_000_000_123_456_789, time.struct_time((2026, 2, 2, 2, 40, 0, 0, 33, 0)))
PLAIN = Message("a/b", b"hello", 1, True, False, packet_id=7)
EMPTY = Message("a/b", b"", 0, False, False)
RICH = Message(
    "a/b",
    b"hello",
    2,
    False,
    False,
    user_properties=(("k", "v"), ("k", "w")),
    correlation_data=b"\x00id",
    packet_id=9,
    properties={
        PropertyId.CONTENT_TYPE: "text",
        PropertyId.USER_PROPERTY: [("k", "v"), ("k", "w")],
        PropertyId.CORRELATION_DATA: b"\x00id",
        PropertyId.MESSAGE_EXPIRY_INTERVAL: 60,
        PropertyId.PAYLOAD_FORMAT_INDICATOR: 0,
        PropertyId.RESPONSE_TOPIC: "r/t",
        PropertyId.SUBSCRIPTION_IDENTIFIER: [5, 6],
        PropertyId.TOPIC_ALIAS: 3,
    },
)


@pytest.mark.parametrize(
    ("text", "message", "expected"),
    [
        ("%t %p %l %q %r %m %%", PLAIN, b"a/b hello 5 1 1 7 %"),
        ("[%6t][%-6t][%.2t][%5.1t][%-5.1t]", PLAIN, b"[   a/b][a/b   ][a/][    a][a    ]"),
        ("[%7p][%-7p][%07p][%3p]", PLAIN, b"[  hello][hello  ][00hello][hel]"),
        ("[%3l][%03l][%-3l][%-03l]", PLAIN, b"[  5][005][5  ][5  ]"),
        ("%x %X", PLAIN, b"68656c6c6f 68656C6C6F"),
        ("%.2:x|%.4 X|%.2-x", PLAIN, b"68:65:6c:6c:6f|6865 6C6C 6F|68-65-6c-6c-6f"),
        ("%A %C %E %F %R %S %P", RICH, b"3 text 60 0 r/t 5 k:v k:w"),
        ("%D", RICH, b"\x00id"),
        ("[%3A][%06C][%3E][%02F][%R][%2S][%P][%D]", PLAIN, b"[   ][      ][   ][00][][  ][][]"),
        ("@Y-@m-@d @H:@M @@ @N @s", PLAIN, b"2026-02-02 02:40 @ 123456789 1770000000"),
        ("%U", PLAIN, b"1770000000.123456789"),
        (r"\\ \0\a\e\n\r\t\v", PLAIN, b"\\ \0\a\x1b\n\r\t\v"),
        ("grüße", PLAIN, "grüße".encode()),
        ("%p|%l|%x", EMPTY, b"|0|"),
        ("%f", Message("t", struct.pack("=f", 1.5), 0, False, False), b"1.500000"),
        ("%8.2f|%-8.1f|%08.1f", Message("t", struct.pack("=f", 1.5), 0, False, False), b"    1.50|1.5     |000001.5"),
        ("%.3d", Message("t", struct.pack("=d", -2.25), 0, False, False), b"-2.250"),
    ],
)
def test_formats(text: str, message: Message, expected: bytes) -> None:
    assert MessageFormat(text).render(message, MOMENT) == expected


def test_the_time_with_its_zone() -> None:
    rendered = MessageFormat("%I").render(PLAIN, MOMENT).decode()
    assert rendered.startswith("2026-02-02T02:40:00")
    assert len(rendered) == len("2026-02-02T02:40:00+0000")


@pytest.mark.parametrize("specifier", ["%f", "%d"])
def test_what_is_no_number_is_told(specifier: str, capsys: Any) -> None:
    assert MessageFormat(f"[{specifier}]").render(PLAIN, MOMENT) == b"[]"
    assert "data received on topic a/b" in capsys.readouterr().err


def test_what_is_no_json_is_told(capsys: Any) -> None:
    assert MessageFormat("[%J]").render(PLAIN, MOMENT) == b"[]"
    assert capsys.readouterr().err == "Error: Message payload is not valid JSON on topic a/b.\n"


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"1", b"1"),
        (b"1.0", b"1"),
        (b"1e3", b"1000"),
        (b"0.1", b"0.1"),
        (b"2147483648", b"2147483648"),
        (b"12345678901234567890", b"1.2345678901234567e+19"),
        (b"1e400", b"null"),
        (b"[1,[],{}]", b"[1,[],{}]"),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2}'),
        (b'"\\u00e9\\n"', '"é\\n"'.encode()),
        (b" true ", b"true"),
    ],
)
def test_payloads_that_are_json(payload: bytes, expected: bytes) -> None:
    message = Message("t", payload, 0, False, False)
    assert message_json(message, "now", True, False).endswith(b'"payload":' + expected + b"}")


@pytest.mark.parametrize("payload", [b"x", b"{", b"NaN", b"Infinity", b"\xff", b"[" * 5_000 + b"]" * 5_000, b"1 2"])
def test_payloads_that_are_none(payload: bytes) -> None:
    with pytest.raises(NotJsonError):
        message_json(Message("t", payload, 0, False, False), "now", True, False)


def test_json_of_any_payload_is_json() -> None:
    for payload in (bytes(range(256)), b"", "grüße".encode(), b'"\\'):
        document = json.loads(message_json(Message("t", payload, 0, False, False), "now", False, True))
        assert document["payload"] == (payload.decode(errors="replace") if payload else None)
        assert document["payloadlen"] == len(payload)


def test_json_has_the_properties_in_their_order() -> None:
    document = json.loads(message_json(RICH, "now", False, False))
    assert list(document) == ["tst", "topic", "qos", "retain", "payloadlen", "mid", "properties", "payload"]
    assert list(document["properties"])[:2] == ["content-type", "user-properties"]


class Terminal:
    """Standard output that is a terminal or not."""

    def __init__(self, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self.written = b""
        self.buffer = self

    def isatty(self) -> bool:
        return self._is_terminal

    def write(self, data: bytes) -> None:
        self.written += data

    def flush(self) -> None:
        """Nothing is held back."""


def printed(
    monkeypatch: pytest.MonkeyPatch, options: OutputOptions, *messages: Message, is_terminal: bool = False, **env: str
) -> bytes:
    terminal = Terminal(is_terminal)
    monkeypatch.setattr(sys, "stdout", terminal)
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    printer = Printer(options, "server")
    for message in messages:
        printer.print(message)
    return terminal.written


HOSTILE = Message("a\x1b[31m", b"\x1b]0;title\x07 ok\ttab\nline", 0, False, False)


@pytest.mark.parametrize(
    ("options", "message", "in_pipe", "on_terminal"),
    [
        (OutputOptions(), PLAIN, b"hello\n", b"hello\n"),
        (OutputOptions(), EMPTY, b"", b""),
        (OutputOptions(is_verbose=True), PLAIN, b"a/b hello\n", b"\x1b[36ma/b\x1b[0m hello\n"),
        (OutputOptions(is_verbose=True), EMPTY, b"a/b (null)\n", b"\x1b[36ma/b\x1b[0m \x1b[2m(null)\x1b[0m\n"),
        (OutputOptions(end_of_line=False), PLAIN, b"hello", b"hello"),
        (OutputOptions(format="%p"), HOSTILE, HOSTILE.payload + b"\n", HOSTILE.payload + b"\n"),
        (OutputOptions(), HOSTILE, HOSTILE.payload + b"\n", b"\\x1b]0;title\\x07 ok\ttab\nline\n"),
    ],
)
def test_output(
    options: OutputOptions, message: Message, in_pipe: bytes, on_terminal: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert printed(monkeypatch, options, message) == in_pipe
    assert printed(monkeypatch, options, message, is_terminal=True) == on_terminal


@pytest.mark.parametrize("variable", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour(variable: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(monkeypatch, OutputOptions(is_verbose=True), PLAIN, is_terminal=True, **variable) == b"a/b hello\n"


def test_watch_has_a_line_for_each_topic(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Message("c", b"two", 0, False, False)
    written = printed(monkeypatch, OutputOptions(is_watch=True), PLAIN, other, PLAIN, is_terminal=True)
    assert written == (
        b"\x1b[2J\x1b[1;1HBroker: server\n"
        b"\x1b[2;1H\x1b[Khello\x1b[3;1H"
        b"\x1b[3;1H\x1b[Ktwo\x1b[4;1H"
        b"\x1b[2;1H\x1b[Khello\x1b[4;1H"
    )
    assert printed(monkeypatch, OutputOptions(is_watch=True), PLAIN) == b"hello\n"


def test_a_share_of_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.1, 0.249, 0.25, 0.9])
    terminal = Terminal(False)
    monkeypatch.setattr(sys, "stdout", terminal)
    printer = Printer(OutputOptions(random_percent=25.0), "server", lambda: next(drawn))
    for number in range(4):
        printer.print(Message("t", b"%d" % number, 0, False, False))
    assert terminal.written == b"0\n1\n"
