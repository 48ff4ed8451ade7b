"""Values from the environment: they go before those of files, have the type of their option, and errors name them."""

from pathlib import Path

import pytest
from config.reading import errors, loaded, written
from noctule.config.log import LogLevel, LogStream
from noctule.config.settings import Limits, ListenerSettings, Settings, ShareStrategy


def test_before_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "[limits]\nmax_packet_size = '1MB'\nreceive_maximum = 5")
    assert loaded(path, NOCTULE__LIMITS__MAX_PACKET_SIZE="2kB").settings == Settings(
        limits=Limits(packet_max_bytes=2_000, receive_maximum=5)
    )


def test_without_a_file() -> None:
    assert loaded(None).settings == Settings()
    assert loaded(None, NOCTULE_TEST="1", PATH="/bin").settings == Settings()
    assert loaded(None, NOCTULE__LIMITS__RECEIVE_MAXIMUM="7").settings.limits.receive_maximum == 7


def test_types() -> None:
    settings = loaded(
        None,
        NOCTULE__SHARE_STRATEGY="sticky",
        NOCTULE__RESPONSE_INFORMATION="False",
        NOCTULE__KEEP_ALIVE_MAXIMUM="5m",
        NOCTULE__LIMITS__MAX_QUEUED_BYTES="1048576",
        NOCTULE__LIMITS__CONNECT_TIMEOUT="0.5",
        NOCTULE__LOGGING__LEVEL="debug",
        NOCTULE__LOGGING__TIMESTAMP_FORMAT="5",
        NOCTULE__LOGGING__DESTINATIONS="stdout, /var/log/noctule.log",
        NOCTULE__LOGGING__LEVELS='{ "noctule.net" = "error" }',
        NOCTULE__PID_FILE="3",
        NOCTULE__ALLOW_ANONYMOUS="",
    ).settings
    assert settings.share_strategy is ShareStrategy.STICKY
    assert settings.response_information is False
    assert settings.keep_alive_max_s == 300
    assert settings.limits.queue_max_bytes == 1_048_576
    assert settings.limits.connect_timeout_s == 0.5
    assert settings.log.level is LogLevel.DEBUG
    assert settings.log.timestamp_format == "5"
    assert settings.log.destinations == (LogStream.STDOUT, Path("/var/log/noctule.log"))
    assert settings.log.levels == {"noctule.net": LogLevel.ERROR}
    assert settings.pid_file == Path.cwd() / "3"
    assert settings.allow_anonymous is None


def test_listeners(tmp_path: Path) -> None:
    path = written(tmp_path, "[[listeners]]\nport = 1884")
    settings = loaded(
        path,
        NOCTULE__LISTENERS__0__ADDRESS="::1",
        NOCTULE__LISTENERS__1__PORT="1885",
        NOCTULE__LISTENERS__1__ADDRESS='["127.0.0.1", "::1"]',
    ).settings
    assert settings.listeners == (ListenerSettings("::1", 1884), ListenerSettings(("127.0.0.1", "::1"), 1885))


def test_listeners_of_nothing() -> None:
    assert loaded(None, NOCTULE__LISTENERS__0__PORT="1884").settings.listeners == (ListenerSettings(port=1884),)


def test_plugins(tmp_path: Path) -> None:
    path = written(tmp_path, "[plugins.password_file]\npath = 'a'")
    plugins = loaded(
        path, NOCTULE__PLUGINS__PASSWORD_FILE__PATH="b", NOCTULE__PLUGINS__ACCESS_FILE__PATH="c"
    ).settings.plugins
    assert [(plugin.name, dict(plugin.options)) for plugin in plugins] == [
        ("password_file", {"path": "b"}),
        ("access_file", {"path": "c"}),
    ]
    assert [plugin.name for plugin in loaded(None, NOCTULE__PLUGINS="password_file, access_file").settings.plugins] == [
        "password_file",
        "access_file",
    ]


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("NOCTULE__LIMTS__X", "1", 'limts: unknown key; did you mean "limits"?'),
        ("NOCTULE__LIMITS__MAX_PACKET", "1", 'limits.max_packet: unknown key; did you mean "max_packet_size"?'),
        (
            "NOCTULE__LIMITS__RECEIVE_MAXIMUM",
            "many",
            'limits.receive_maximum: expected a whole number from 1 to 65535; got "many"',
        ),
        ("NOCTULE__RESPONSE_INFORMATION", "yes", 'response_information: expected true or false; got "yes"'),
        (
            "NOCTULE__LIMITS__RECEIVE_MAXIMUM",
            "",
            'limits.receive_maximum: expected a whole number from 1 to 65535; got ""',
        ),
        ("NOCTULE__LISTENERS__2__PORT", "1", '"2" is not the number of one of them: expected 0'),
        ("NOCTULE__LISTENERS__ONE__PORT", "1", '"ONE" is not the number of one of them: expected 0'),
        ("NOCTULE__INCLUDE", "conf.d", "include: only a file may include others"),
        ("NOCTULE____X", "1", "expected NOCTULE__KEY or NOCTULE__TABLE__KEY"),
        ("NOCTULE__LIMITS", "5", 'limits: expected a table; got "5"'),
    ],
)
def test_errors_name_the_variable(name: str, value: str, expected: str) -> None:
    assert errors(None, **{name: value}) == [f"{name}: error: {expected}"]


def test_below_a_value(tmp_path: Path) -> None:
    path = written(tmp_path, "durability = 'memory'")
    assert errors(path, NOCTULE__DURABILITY__LEVEL="os") == [
        'NOCTULE__DURABILITY__LEVEL: error: durability.level: "durability" is no table'
    ]


def test_a_mosquitto_conf_too(tmp_path: Path) -> None:
    path = written(tmp_path, "listener 1883\nallow_anonymous true\n", "mosquitto.conf")
    assert loaded(path, NOCTULE__LISTENERS__0__PORT="1999").settings.listeners == (ListenerSettings("*", 1999),)
