"""mosquitto.conf as people have it: each file of ``mosquitto/`` starts, or fails with the lines beside it.

After a change that is meant: NOCTULE_UPDATE_EXPECTED=1 pytest tests/config/test_mosquitto.py, and read the difference.
"""

import os
from pathlib import Path

import pytest
from config.reading import config_of_plugin, errors, loaded, warnings, written
from noctule.config.bridges import BridgeTopic, Direction
from noctule.config.loading import examine, is_mosquitto
from noctule.config.log import LogLevel, LogStream
from noctule.config.mosquitto import _Reader
from noctule.config.mosquitto_directives import DIRECTIVES, OTHER_DEFAULTS, PATHS, SECURITY, Reading, Special
from noctule.config.options import Secret
from noctule.config.problems import ConfigError
from noctule.config.settings import (
    ClientIdSettings,
    ListenerLimits,
    ListenerSettings,
    Protocol,
    ProxySettings,
    TcpSettings,
    WebSocketSettings,
)
from noctule.config.tls import CertificateName, TlsSettings, TlsVersion
from noctule.config.toml_text import document_text

FOLDER = Path(__file__).parent / "mosquitto"
FILES = sorted(path.stem for path in FOLDER.glob("*.conf"))


@pytest.fixture(autouse=True)
def _started_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mosquitto takes relative paths from where it is started. And the Python is one without pre-shared keys."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setattr("noctule.config.tls.HAS_PSK", False)


def result_of(name: str) -> str:
    """What becomes of the file: whether it starts, and every error and warning."""
    examined = examine(Path(f"{name}.conf"), environment={}, config_of_plugin=config_of_plugin)
    wrong = (*examined.problems, *examined.not_yet)
    lines = [problem.line("error") for problem in wrong] + [problem.line("warning") for problem in examined.warnings]
    return "\n".join(["fails" if wrong else "starts", *lines]) + "\n"


@pytest.mark.parametrize("name", FILES)
def test_file(name: str) -> None:
    expected = FOLDER / f"{name}.expected"
    if os.environ.get("NOCTULE_UPDATE_EXPECTED"):
        expected.write_text(result_of(name), encoding="utf-8")
    assert result_of(name) == expected.read_text(encoding="utf-8")


def test_there_are_enough() -> None:
    assert len(FILES) >= 30


@pytest.mark.parametrize("name", FILES)
def test_converted(name: str, tmp_path: Path) -> None:
    """The TOML says the same as the file that it was made from."""
    try:
        settings = loaded(Path(f"{name}.conf")).settings
    except ConfigError:
        return
    document = examine(Path(f"{name}.conf"), environment={}, config_of_plugin=config_of_plugin).document
    assert loaded(written(tmp_path, document_text(document))).settings == settings


def directive(tmp_path: Path, text: str) -> Path:
    return written(tmp_path, text, "mosquitto.conf")


def test_no_listener_is_this_machine_alone(tmp_path: Path) -> None:
    for text in ("", "persistence false\n", "password_file x\n"):
        settings = loaded(directive(tmp_path, text)).settings
        assert [listener.hosts for listener in settings.listeners] == [("127.0.0.1",)]
        assert settings.admits_anonymous(settings.listeners[0])


def test_a_limit_on_all_clients(tmp_path: Path) -> None:
    assert loaded(directive(tmp_path, "global_max_clients 77\n")).settings.limits.sessions_max == 77
    before = loaded(directive(tmp_path, "")).settings.limits
    assert loaded(directive(tmp_path, "global_max_clients -1\n")).settings.limits == before


@pytest.mark.parametrize(
    ("text", "expiry_s"),
    [
        ("1h", 3_600),
        ("2d", 172_800),
        ("3w", 1_814_400),
        ("4m", 10_368_000),
        ("5y", 157_680_000),
        ("90s", 90),
        ("0d", None),
    ],
)
def test_an_end_to_sessions(tmp_path: Path, text: str, expiry_s: int | None) -> None:
    path = directive(tmp_path, f"persistent_client_expiration {text}\n")
    assert loaded(path).settings.limits.session_expiry_max_s == expiry_s


@pytest.mark.parametrize("text", ["5", "-1d", "2x", "m", "200y"])
def test_an_end_to_sessions_that_is_none(tmp_path: Path, text: str) -> None:
    assert "persistent_client_expiration" in errors(directive(tmp_path, f"persistent_client_expiration {text}\n"))[0]


def test_client_identifiers(tmp_path: Path) -> None:
    text = "allow_zero_length_clientid false\nauto_id_prefix made-\nclientid_prefixes sensor-\n"
    found = loaded(directive(tmp_path, text)).settings.client_ids
    assert found == ClientIdSettings(allow_empty=False, assigned_prefix="made-", prefixes=("sensor-",))
    same = loaded(directive(tmp_path, "allow_zero_length_clientid true\nauto_id_prefix auto-\n")).settings.client_ids
    assert same == ClientIdSettings()
    assert "auto_id_prefix" in errors(directive(tmp_path, f"auto_id_prefix {'x' * 51}\n"))[0]
    text = "per_listener_settings true\nlistener 1883\nallow_anonymous true\nallow_zero_length_clientid false\n"
    path = directive(tmp_path, text)
    assert not loaded(path).settings.client_ids.allow_empty
    assert any("counts for all listeners" in line for line in warnings(path))


def test_a_listener_lets_nobody_in_unasked(tmp_path: Path) -> None:
    for text in ("listener 1883\n", "listener 1883 127.0.0.1\n", "port 1883\n"):
        assert "nobody could connect" in errors(directive(tmp_path, text))[0]
        settings = loaded(directive(tmp_path, f"{text}password_file x\n")).settings
        assert not settings.admits_anonymous(settings.listeners[0])


def test_port_and_address(tmp_path: Path) -> None:
    text = "allow_anonymous true\nport 1884\nlistener 1885 10.0.0.1\nlistener 1886\nsocket_domain ipv4\n"
    assert loaded(directive(tmp_path, text)).settings.listeners == (
        ListenerSettings("*", 1884),
        ListenerSettings("10.0.0.1", 1885),
        ListenerSettings("0.0.0.0", 1886),
    )


def test_limits_and_log(tmp_path: Path) -> None:
    text = (
        "max_inflight_messages 5\nmax_packet_size 4096\nmax_queued_bytes 1000000\nmax_keepalive 60\n"
        "log_type error\nlog_type warning\nlog_dest stdout\nlog_dest file x.log\nlog_timestamp false\n"
        "pid_file /run/x.pid\n"
    )
    settings = loaded(directive(tmp_path, text)).settings
    assert settings.limits.inflight_max == 5
    assert settings.limits.packet_max_bytes == 4_096
    assert settings.limits.queue_max_bytes == 1_000_000
    assert settings.keep_alive_max_s == 60
    assert settings.log.level is LogLevel.WARNING
    assert settings.log.destinations == (LogStream.STDOUT, FOLDER / "x.log")
    assert settings.log.timestamps is False
    assert settings.pid_file == Path("/run/x.pid")


@pytest.mark.parametrize(
    ("text", "facility"), [("5", "local5"), ("local0", "local0"), ("daemon", "daemon"), ("8", None), ("mail", None)]
)
def test_log_facility(tmp_path: Path, text: str, facility: str | None) -> None:
    path = directive(tmp_path, f"log_facility {text}\n")
    if facility is None:
        assert "log_facility" in errors(path)[0]
    else:
        assert loaded(path).settings.log.syslog_facility.value == facility


def test_sys_interval(tmp_path: Path) -> None:
    assert loaded(directive(tmp_path, "sys_interval 3\n")).settings.sys_interval_s == 3
    assert loaded(directive(tmp_path, "sys_interval 0\n")).settings.sys_interval_s == 0
    assert loaded(directive(tmp_path, "")).settings.sys_interval_s == 10


def test_http_api_is_our_http_port(tmp_path: Path) -> None:
    text = "allow_anonymous true\nlistener 1883\nlistener 9884 127.0.0.1\nprotocol http_api\n"
    settings = loaded(directive(tmp_path, text)).settings
    assert [listener.port for listener in settings.listeners] == [1883]
    assert (settings.http.enabled, settings.http.host, settings.http.port) == (True, "127.0.0.1", 9884)


def test_http_api_for_everybody_needs_a_password(tmp_path: Path) -> None:
    path = directive(tmp_path, "allow_anonymous true\nlistener 1883\nlistener 9884\nprotocol http_api\n")
    assert "NOCTULE__HTTP__PASSWORD" in errors(path)[0]
    assert loaded(path, NOCTULE__HTTP__PASSWORD="secret").settings.http.host == "*"


@pytest.mark.parametrize(
    ("text", "destinations"),
    [
        ("log_dest none\n", ()),
        ("log_dest syslog\n", (LogStream.SYSLOG,)),
        ("log_dest stdout\nlog_dest syslog\n", (LogStream.STDOUT, LogStream.SYSLOG)),
        ("log_dest topic\nlog_dest stdout\n", (LogStream.TOPIC, LogStream.STDOUT)),
        ("log_dest dlt\n", (LogStream.STDERR,)),
        ("log_dest stdout\nlog_dest dlt\n", (LogStream.STDOUT,)),
        ("log_dest dlt\nlog_dest stdout\n", (LogStream.STDOUT,)),
    ],
)
def test_log_destinations(tmp_path: Path, text: str, destinations: tuple[LogStream, ...]) -> None:
    assert loaded(directive(tmp_path, text)).settings.log.destinations == destinations


def of_listeners(tmp_path: Path, text: str) -> tuple[ListenerSettings, ...]:
    return loaded(directive(tmp_path, f"allow_anonymous true\n{text}")).settings.listeners


TLS_LINES = "listener 8883\ncertfile /c.crt\nkeyfile /c.key\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", TlsSettings(Path("/c.crt"), Path("/c.key"))),
        (
            "cafile /ca.crt\nrequire_certificate true\nuse_identity_as_username true\ncrlfile /crl.pem\n",
            TlsSettings(
                Path("/c.crt"),
                Path("/c.key"),
                ca_file=Path("/ca.crt"),
                crl_file=Path("/crl.pem"),
                require_certificate=True,
                user_name_from=CertificateName.COMMON_NAME,
            ),
        ),
        (
            "capath /ca\nuse_subject_as_username true\ntls_version tlsv1.3\nciphers ECDHE\n",
            TlsSettings(
                Path("/c.crt"),
                Path("/c.key"),
                ca_directory=Path("/ca"),
                minimum_version=TlsVersion.TLS_1_3,
                ciphers="ECDHE",
                user_name_from=CertificateName.SUBJECT,
            ),
        ),
    ],
)
def test_tls(tmp_path: Path, text: str, expected: TlsSettings) -> None:
    (listener,) = of_listeners(tmp_path, TLS_LINES + text)
    assert listener == ListenerSettings("*", 8883, tls=expected)


def test_cipher_suites_of_tls_1_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = f"allow_anonymous true\n{TLS_LINES}ciphers_tls1.3 TLS_AES_128_GCM_SHA256\n"
    monkeypatch.setattr("noctule.config.tls.HAS_CIPHERS_TLS13", False)
    assert '"ciphers_tls13" needs Python 3.15' in errors(directive(tmp_path, text))[0]
    monkeypatch.setattr("noctule.config.tls.HAS_CIPHERS_TLS13", True)
    (listener,) = loaded(directive(tmp_path, text)).settings.listeners
    assert listener.tls is not None
    assert listener.tls.ciphers_tls13 == "TLS_AES_128_GCM_SHA256"


@pytest.mark.parametrize("is_per_listener", [False, True])
def test_pre_shared_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_per_listener: bool) -> None:
    monkeypatch.setattr("noctule.config.tls.HAS_PSK", True)
    text = "psk_hint hub\npsk_file /keys\nuse_identity_as_username true\n"
    if is_per_listener:
        (listener,) = loaded(
            directive(tmp_path, f"per_listener_settings true\nlistener 8883\n{text}")
        ).settings.listeners
    else:
        (listener,) = of_listeners(tmp_path, f"listener 8883\n{text}")
    assert listener.tls == TlsSettings(
        psk_hint="hub", psk_file=Path("/keys"), user_name_from=CertificateName.PSK_IDENTITY
    )
    assert errors(directive(tmp_path, "allow_anonymous true\nlistener 8883\npsk_hint hub\n")) == [
        'mosquitto.conf:3: error: psk_hint: "psk_hint" needs "psk_file": the keys'
    ]


def test_web_sockets(tmp_path: Path) -> None:
    text = "listener 9001\nprotocol websockets\nwebsockets_origin https://a.example\nwebsockets_origin http://b:8080\n"
    (listener,) = of_listeners(tmp_path, text)
    assert listener == ListenerSettings(
        "*",
        9001,
        protocol=Protocol.WEBSOCKET,
        websocket=WebSocketSettings(origins=("https://a.example", "http://b:8080")),
    )


def test_unix_sockets(tmp_path: Path) -> None:
    assert of_listeners(tmp_path, "listener 0 /run/x.sock\nsocket_domain unix\n") == (
        ListenerSettings(path=Path("/run/x.sock")),
    )
    assert errors(directive(tmp_path, "allow_anonymous true\nlistener 1883\nsocket_domain unix\n")) == [
        "mosquitto.conf:3: error: socket_domain: a unix socket is named by its path: listener 0 /PATH"
    ]


def test_proxies(tmp_path: Path) -> None:
    text = "listener 1883\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\nuse_identity_as_username true\n"
    (listener,) = of_listeners(tmp_path, text)
    assert listener.proxy == ProxySettings(("0.0.0.0/0", "::/0"), 2, user_name_from_certificate=True, require_tls=True)
    assert listener.tls is None
    (listener,) = of_listeners(tmp_path, "listener 1883\nenable_proxy_protocol 1\n")
    assert listener.proxy == ProxySettings(("0.0.0.0/0", "::/0"), 1)
    assert (
        "expected a whole number from 1 to 2"
        in errors(directive(tmp_path, "listener 1883\nenable_proxy_protocol 3\n"))[0]
    )


def test_interface_and_connections(tmp_path: Path) -> None:
    (listener,) = of_listeners(tmp_path, "listener 1883\nbind_interface eth0\nmax_connections 7\n")
    assert listener.tcp == TcpSettings("eth0")
    assert listener.limits == ListenerLimits(7)


def test_files_become_plugins(tmp_path: Path) -> None:
    text = "listener 1883\npassword_file /a/passwd\nacl_file /a/acl\n"
    plugins = loaded(directive(tmp_path, text)).settings.plugins
    assert [(plugin.name, dict(plugin.options)) for plugin in plugins] == [
        ("password_file", {"path": "/a/passwd"}),
        ("access_file", {"path": "/a/acl", "mosquitto_subscriptions": True}),
    ]


def test_included_files_begin_before_any_listener(tmp_path: Path) -> None:
    """As Mosquitto; and the main file goes on where it was."""
    written(tmp_path, "max_connections 5\n", "conf.d/a.conf")
    text = f"listener 1883\ninclude_dir {tmp_path}/conf.d\nlistener_allow_anonymous true\n"
    assert errors(directive(tmp_path, text)) == [
        'conf.d/a.conf:1: error: max_connections: stands before every "listener": move it below the one that it is for'
    ]
    written(tmp_path, f"include_dir {tmp_path}\nmax_keepalive 9\n", "conf.d/a.conf")
    settings = loaded(directive(tmp_path, text)).settings
    assert settings.listeners == (ListenerSettings("*", 1883, allow_anonymous=True),)
    assert settings.keep_alive_max_s == 9
    assert warnings(directive(tmp_path, text))[-1].startswith("conf.d/a.conf:1: warning: include_dir: ignored: only")


def test_a_bridge_keeps_its_topic_and_its_password(tmp_path: Path) -> None:
    """``#`` is a topic there, and may be in a password: no word of them is an error of its own."""
    text = (
        "allow_anonymous true\nconnection a\ntopic # both 2\nremote_username u\nremote_password a #b\n"
        "address h # comment\n"
    )
    (bridge,) = loaded(directive(tmp_path, text)).settings.bridges
    assert bridge.topics == (BridgeTopic("#", Direction.BOTH, 2),)
    assert bridge.remote_password == Secret("a #b")
    assert bridge.addresses == ("mqtt://h:1883",)


def test_what_is_in_flight_on_a_bridge(tmp_path: Path) -> None:
    """A directive for all clients that Mosquitto applies to bridges."""
    text = "allow_anonymous true\nconnection a\naddress h\ntopic #\n"
    (bridge,) = loaded(directive(tmp_path, text)).settings.bridges
    assert bridge.inflight_max_there == 20
    (bridge,) = loaded(directive(tmp_path, "max_inflight_messages 5\n" + text)).settings.bridges
    assert bridge.inflight_max_there == 5


def test_equals_signs(tmp_path: Path) -> None:
    assert errors(directive(tmp_path, "listener = 1883\nallow_anonymous=true\n")) == [
        "mosquitto.conf:1: error: listener: mosquitto.conf has no equals signs: listener VALUE",
        "mosquitto.conf:2: error: allow_anonymous=true: mosquitto.conf has no equals signs: allow_anonymous VALUE",
    ]


def test_not_utf_8_where_it_counts(tmp_path: Path) -> None:
    path = written(tmp_path, b"allow_anonymous true\npid_file /run/\xfc.pid\n", "mosquitto.conf")
    assert errors(path) == ["mosquitto.conf:2: error: pid_file: is not UTF-8 text"]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("noctule.toml", "listener 1883", False),
        ("mosquitto.conf", "a = 1", True),
        ("mosquitto-no-auth.conf", "", True),
        ("broker.conf", "\n# comment\nlistener 1883\n", True),
        ("broker.conf", "[limits]\n", False),
        ("broker.conf", "log_dest stdout\n", True),
        ("config", "plugins = []\n", False),
        ("config", "allow_anonymous true\n", True),
        ("other.conf", "", True),
        ("config", "", False),
    ],
)
def test_which_form_it_has(tmp_path: Path, name: str, text: str, expected: bool) -> None:
    assert is_mosquitto(written(tmp_path, text, name)) is expected


def test_every_special_directive_has_its_method() -> None:
    for name, one in DIRECTIVES.items():
        assert isinstance(one, Special) == hasattr(_Reader, f"_{name}"), name


def test_the_tables_name_directives() -> None:
    assert set(DIRECTIVES) >= PATHS | SECURITY | {name for name, _, _ in OTHER_DEFAULTS}


def test_every_directive_is_read(tmp_path: Path) -> None:
    """Alone in a file, with a value that looks right: never an unknown word, never a failure of ours."""
    for name, one in DIRECTIVES.items():
        value = {Reading.FLAG: "true", Reading.NUMBER: "5"}.get(one.reading, "x")
        for text in (f"{name} {value}\n", f"{name}\n", f"listener 1883\nconnection b\n{name} {value}\n"):
            for error in errors(directive(tmp_path, text)):
                assert "unknown" not in error
