"""Every option of Mosquitto's tools, by a table: what it sets, and what it refuses."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from noctule.cli import bench, ping, pub, rr, sub, top
from noctule.cli.connection_options import ConnectionOptions, read_command_line, with_url_first
from noctule.cli.option_reading import HelpAskedError, OptionTable, VersionAskedError, c_integer, strict_integer
from noctule.cli.outcome import UsageError
from noctule.cli.payloads import PayloadSource
from noctule.client import Address, Proxy, Transport
from noctule.protocol import SESSION_NEVER_EXPIRES, Disconnect, PropertyId, ProtocolVersion, Will

V3_1, V3_1_1, V5 = ProtocolVersion

#: Appendix C of the reference: what mosquitto_pub, _sub and _rr 2.1 take.
COMMON = (
    "-A -c --disable-clean-session -d --debug -D --property -h --host -i --id -I --id-prefix -k --keepalive -L --url "
    "-M --nodelay --no-tls -o -p --port -P --pw --proxy -q --qos --quiet -S -t --topic -u --username --unix -V "
    "--protocol-version --ws -x --will-topic --will-payload --will-qos --will-retain --cafile --capath --cert --key "
    "--keyform --ciphers --insecure --tls-alpn --tls-engine --tls-engine-kpass-sha1 --tls-keylog --tls-use-os-certs "
    "--tls-version --psk --psk-identity"
)
PAYLOAD = "-f --file -m --message -n --null-message -s --stdin-file"
OUTPUT = "-F -N --pretty -R --retain-as-published --retain-handling -v --verbose -W"
OF_TOOL = {
    "pub": f"{PAYLOAD} -l --stdin-line -r --retain --repeat --repeat-delay",
    "sub": f"{OUTPUT} -C -E -T --filter-out -U --unsubscribe --retained-only --remove-retained --random-filter "
    "--message-rate -w --watch",
    "rr": f"{PAYLOAD} {OUTPUT} -e --latency",
}
TABLES: dict[str, OptionTable[Any]] = {"pub": pub.OPTIONS, "sub": sub.OPTIONS, "rr": rr.OPTIONS}


def fresh(tool: str) -> Any:
    if tool == "pub":
        return pub.PubOptions("pub")
    if tool == "sub":
        return sub.SubOptions("sub", reconnects=True)
    return rr.RrOptions("rr", version=V5, count=1)


def read(tool: str, words: str | Sequence[str]) -> Any:
    options = fresh(tool)
    TABLES[tool].read(shlex.split(words) if isinstance(words, str) else words, options)
    options.check()
    return options


@pytest.mark.parametrize("tool", OF_TOOL)
def test_every_option_is_there_and_no_other(tool: str) -> None:
    assert TABLES[tool].names == frozenset(f"{COMMON} {OF_TOOL[tool]}".split())


@pytest.mark.parametrize(
    ("tool", "words", "expected"),
    [
        ("sub", "-h host -p 99", {"host": "host", "port": 99}),
        ("sub", "--host host --port 99", {"host": "host", "port": 99}),
        ("sub", "-A 10.0.0.1", {"local_address": "10.0.0.1"}),
        ("sub", "-i me", {"client_id": "me"}),
        ("sub", "--id me", {"client_id": "me"}),
        ("sub", "-I pre", {"client_id_prefix": "pre"}),
        ("sub", "-k 65535", {"keep_alive_s": 65_535}),
        ("sub", "--keepalive 5", {"keep_alive_s": 5}),
        ("sub", "-u name -P word", {"user_name": "name", "password": b"word"}),
        ("sub", "--username name --pw -dash", {"user_name": "name", "password": b"-dash"}),
        ("sub", "-P word", {"password": None}),  # below version 5 of no use without a user name
        ("sub", "-V 5 -P word", {"password": b"word"}),
        ("sub", "-V 31", {"version": V3_1}),
        ("sub", "-V mqttv31", {"version": V3_1}),
        ("sub", "--protocol-version 311", {"version": V3_1_1}),
        ("sub", "-V mqttv5", {"version": V5}),
        ("sub", "", {"version": V3_1_1, "clean_start": True, "session_expiry_interval_s": None}),
        ("rr", "", {"version": V5, "count": 1}),
        ("sub", "-c -i me", {"clean_start": False, "session_expiry_interval_s": SESSION_NEVER_EXPIRES}),
        ("sub", "-x 0x10", {"session_expiry_interval_s": 16, "version": V5}),
        ("sub", "-x -1 -i me", {"session_expiry_interval_s": SESSION_NEVER_EXPIRES}),
        ("sub", "-x ∞ -i me", {"session_expiry_interval_s": SESSION_NEVER_EXPIRES}),
        ("sub", "-c -i me -x 5", {"session_expiry_interval_s": 5}),
        ("sub", "-d --quiet", {"is_debug": True, "is_quiet": True}),
        ("sub", "--debug", {"is_debug": True}),
        ("sub", "-q 2", {"qos": 2}),
        ("sub", "-q 1 --qos 0", {"qos": 0}),
        ("sub", "-t a -t b/#", {"topics": ["a", "b/#"]}),
        ("pub", "-t a -t b", {"topics": ["b"]}),
        ("sub", "-t -q -q 1", {"topics": ["-q"], "qos": 1}),
        ("sub", "-M 5 --nodelay", {}),
        ("sub", "--proxy socks5h://p:9", {"proxy": Proxy("p", 9)}),
        ("sub", "-C 5", {"count": 5}),
        ("sub", "-E", {"exits_after_subscribing": True}),
        ("sub", "-T a/# --filter-out b", {"filters_out": ["a/#", "b"]}),
        ("sub", "-U a --unsubscribe b", {"unsubscribe": ["a", "b"]}),
        ("sub", "-W 3", {"timeout_s": 3}),
        ("sub", "-R", {"output_retained_hidden": True, "retain_handling": 2}),
        ("sub", "--retained-only", {"retained_only": True}),
        ("sub", "--remove-retained", {"removes_retained": True}),
        ("sub", "--retain-as-published", {"retain_as_published": True}),
        ("sub", "--retain-handling always", {"retain_handling": 0}),
        ("sub", "--retain-handling new", {"retain_handling": 1}),
        ("sub", "--retain-handling never", {"retain_handling": 2}),
        ("sub", "--message-rate", {"shows_rate": True}),
        ("sub", "-w", {"output.is_watch": True}),
        ("sub", "--watch", {"output.is_watch": True}),
        ("sub", "-v", {"output.is_verbose": True}),
        ("sub", "-N", {"output.end_of_line": False}),
        ("sub", "-F %t --pretty", {"output.format": "%t", "output.pretty": True}),
        ("sub", "--random-filter 12.5", {"output.random_percent": 12.5}),
        ("pub", "-m x", {"source": PayloadSource.TEXT, "text": b"x"}),
        ("pub", "--message -5", {"text": b"-5"}),
        ("pub", "-f x", {"source": PayloadSource.FILE, "file": "x"}),
        ("pub", "-n", {"source": PayloadSource.NOTHING}),
        ("pub", "-s", {"source": PayloadSource.STANDARD_INPUT}),
        ("pub", "--stdin-line", {"source": PayloadSource.LINES}),
        ("pub", "-r", {"retain": True}),
        ("pub", "--repeat 3 --repeat-delay 0.5", {"repeat_count": 3, "repeat_delay_s": 0.5}),
        ("rr", "-e r --latency", {"response_topic": "r", "shows_latency": True}),
        ("sub", "--cafile f --insecure", {"ca_file": "f", "insecure": True, "uses_tls": True}),
        ("sub", "--capath d", {"ca_path": "d", "uses_tls": True}),
        ("sub", "--tls-use-os-certs", {"use_system_authorities": True, "uses_tls": True}),
        ("sub", "-p 8883", {"uses_tls": True}),
        ("sub", "-p 8883 --no-tls", {"uses_tls": False}),
        ("sub", "--cert c --key k --keyform pem", {"certificate_file": "c", "key_file": "k", "uses_tls": False}),
        ("sub", "--ciphers c --tls-version tlsv1.3", {"ciphers": "c", "tls_version": "tlsv1.3"}),
        ("sub", "--tls-alpn mqtt --tls-keylog f", {"alpn": "mqtt", "keylog_file": "f"}),
        ("sub", "--psk 00ff --psk-identity me", {"psk": "00ff", "psk_identity": "me", "uses_tls": True}),
    ],
)
def test_what_an_option_sets(tool: str, words: str, expected: dict[str, object]) -> None:
    options = read(tool, words)
    for path, value in expected.items():
        found = options
        for name in path.split("."):
            found = getattr(found, name)
        assert found == value, path


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", Address(Transport.TCP, "localhost", 1883)),
        ("-h ::1", Address(Transport.TCP, "::1", 1883)),
        ("--cafile f", Address(Transport.TLS, "localhost", 8883)),
        ("--cafile f -p 1", Address(Transport.TLS, "localhost", 1)),
        ("--cafile f --no-tls -p 1", Address(Transport.TCP, "localhost", 1)),
        ("--ws", Address(Transport.WEBSOCKET, "localhost", 1883, "/mqtt")),
        ("--ws -p 8883", Address(Transport.WEBSOCKET_TLS, "localhost", 8883, "/mqtt")),
        ("--unix /s", Address(Transport.UNIX, path="/s")),
        ("--unix /s -h host", Address(Transport.TCP, "host", 1883)),
        ("-L mqtt://host/t", Address(Transport.TCP, "host", 1883)),
        ("-L MQTT://host:9/t", Address(Transport.TCP, "host", 9)),
        ("-L mqtts://host/t", Address(Transport.TLS, "host", 8883)),
        ("-L ws://host/t", Address(Transport.WEBSOCKET, "host", 1883, "/mqtt")),
        ("-L wss://host:1/t", Address(Transport.WEBSOCKET_TLS, "host", 1, "/mqtt")),
        ("-L mqtt://[::1]:9/t", Address(Transport.TCP, "::1", 9)),
        ("-p 1 -L mqtt://host/t", Address(Transport.TCP, "host", 1883)),
        ("-L mqtt://host/t -p 1", Address(Transport.TCP, "host", 1)),
    ],
)
def test_the_address(words: str, expected: Address) -> None:
    assert read("sub", words).address() == expected


def test_a_url_says_who_we_are_and_what_is_wanted() -> None:
    options = read("sub", "-L mqtt://ada:p:w@host/a/+/b -t c")
    assert (options.user_name, options.password, options.topics) == ("ada", b"p:w", ["a/+/b", "c"])


def test_the_will() -> None:
    words = (
        "--will-topic w --will-payload bye --will-qos 1 --will-retain -D will will-delay-interval 9 "
        "-D will content-type c"
    )
    assert read("sub", words)._will() == Will("w", b"bye", 1, True, 9, b"\x03\x00\x01c")
    assert read("sub", "--will-topic w")._will() == Will("w", b"")


def test_properties() -> None:
    options = read(
        "pub",
        "-D publish user-property a b -D PUBLISH user-property c d -D publish correlation-data x -D connect "
        "receive-maximum 7 -D disconnect session-expiry-interval 5 -D disconnect user-property e f",
    )
    assert options.version is V5
    assert options.properties.of(3) == {
        PropertyId.USER_PROPERTY: [("a", "b"), ("c", "d")],
        PropertyId.CORRELATION_DATA: b"x",
    }
    assert options.properties.of(1) == {PropertyId.RECEIVE_MAXIMUM: 7}
    assert options.goodbye(4) == Disconnect(4, 5, None, (("e", "f"),))


@pytest.mark.parametrize(
    ("tool", "words", "complaint"),
    [
        ("sub", "--tls-version tlsv1.1", "tlsv1.1 is not supported"),
        ("sub", "--tls-engine e", "engines are not supported"),
        ("sub", "--tls-engine-kpass-sha1 00", "engines are not supported"),
        ("sub", "--keyform engine", "PEM files alone"),
        ("sub", "--psk xyz", "in hexadecimal"),
        ("sub", "--psk 00", "--psk-identity required"),
        ("sub", "--psk 00 --psk-identity i --cafile f", "Only one of --psk"),
        ("sub", "--key k", "Both certfile and keyfile"),
        ("sub", "--proxy http://x", "socks5h://"),
        ("sub", "-V 5 -c", "client id"),
        ("sub", "-x -1", "client id"),
        ("sub", "-q high", "Invalid QoS given: high"),
        ("sub", "--retain-handling often", "Unknown value 'often'"),
        ("sub", "--random-filter 0.05", "between 0.1-100.0"),
        ("sub", "-M 0", "greater than 0"),
        ("sub", "-L mqtt://host:x/t", "Invalid port"),
        ("sub", "-D publish topic-alias 70000", "out of range"),
        ("sub", "-D publish message-expiry-interval soon", "not a number"),
        ("sub", "-D auth reason-string x", "not supported for auth"),
        ("sub", "-D publish content-type a -D publish content-type b", "given twice"),
        ("sub", "-D publish", "no arguments specified"),
        ("sub", "-h", "no host specified"),
        ("sub", ["-t", "\udcff"], "Malformed UTF-8 in -t argument"),
        ("sub", "--will-retain", "no will topic given"),
        ("pub", "--repeat-delay soon", "a number of seconds"),
        ("pub", "--repeat-delay nan", ">=0.0"),
        ("rr", "-e a/+", "Invalid response topic"),
        ("sub", "-F %", "Incomplete format specifier"),
        ("sub", "-F %!", "Incomplete format specifier"),
        ("sub", "-F %y", "Invalid format specifier 'y'"),
        ("sub", ["-F", "\\q"], "Invalid escape specifier 'q'"),
    ],
)
def test_what_is_refused(tool: str, words: str | list[str], complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tool, words)
    assert complaint in str(caught.value)


def test_help_and_version_are_asked_for() -> None:
    with pytest.raises(HelpAskedError):
        read("pub", "-t a --help")
    with pytest.raises(VersionAskedError):
        read("pub", "--version --nonsense")


@pytest.mark.parametrize("table", [*TABLES.values(), bench.OPTIONS, top.OPTIONS, ping.OPTIONS])
def test_help_names_every_option(table: OptionTable[ConnectionOptions]) -> None:
    text = "\n".join(table.help_lines())
    assert all(name in text for name in table.names)


# Defaults files


def test_defaults_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "mosquitto_sub").write_text(
        "# mine\n-h theirs\n\n-p 99\n-v\n-D connect user-property a b\n-t from/file\n"
    )
    (tmp_path / "noctule_sub").write_text("-h ours\n--will-topic a topic with blanks\n")
    options = fresh("sub")
    read_command_line(sub.OPTIONS, ["-p", "7", "-t", "here"], options)
    assert (options.host, options.port, options.topics) == ("ours", 7, ["from/file", "here"])
    assert options.output.is_verbose
    assert options.will_topic == "a topic with blanks"
    assert options.properties.user_properties(1) == (("a", "b"),)


def test_the_home_folder_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "mosquitto_pub").write_text("-h there")
    options = fresh("pub")
    read_command_line(pub.OPTIONS, [], options)
    assert options.host == "there"


def test_a_named_file_stands_for_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "mosquitto_sub").write_text("-h defaults\n")
    named = tmp_path / "named"
    named.write_text("-q 2\n")
    options = fresh("sub")
    read_command_line(sub.OPTIONS, ["-o", str(named)], options)
    assert (options.host, options.qos) == ("localhost", 2)
    with pytest.raises(UsageError, match="No such file"):
        read_command_line(sub.OPTIONS, ["-o", str(tmp_path / "missing")], fresh("sub"))
    with pytest.raises(UsageError, match="Duplicate -o"):
        read_command_line(sub.OPTIONS, ["-o", str(named), "-o", str(named)], fresh("sub"))
    named.write_text("# a comment\n-q 5\n")
    with pytest.raises(UsageError, match=r"named:2: Invalid QoS given: 5"):
        read_command_line(sub.OPTIONS, ["-o", str(named)], fresh("sub"))


@pytest.mark.parametrize(
    ("text", "value"), [("5", 5), ("-5", -5), ("+5", 5), (" 5x", 5), ("x", 0), ("", 0), ("5.9", 5)]
)
def test_numbers_as_c_reads_them(text: str, value: int) -> None:
    assert c_integer(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("5", 5), ("-1", -1), ("0x1F", 31), ("010", 8), ("0", 0), ("5x", None), ("", None), ("1_0", None), ("09", None)],
)
def test_numbers_that_are_whole(text: str, value: int | None) -> None:
    assert strict_integer(text) == value


def test_a_url_alone_is_enough_for_ping_and_top() -> None:
    options = ping.PingOptions("ping")
    ping.OPTIONS.read(with_url_first(["mqtts://host:9", "-q", "1"]), options)
    assert (options.address(), options.qos) == (Address(Transport.TLS, "host", 9), 1)
    assert with_url_first(["-h", "x"]) == ["-h", "x"]
