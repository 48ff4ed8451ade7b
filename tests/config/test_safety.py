"""What works and is not safe."""

from pathlib import Path

import pytest
from config.reading import loaded, warnings, written
from noctule.config.settings import ListenerSettings, Settings

OPEN = "may connect without a password, read every message and send any"


def test_local_is_safe(tmp_path: Path) -> None:
    assert warnings(written(tmp_path, "")) == []
    assert (
        warnings(
            written(tmp_path, "allow_anonymous = true\n[[listeners]]\naddress = ['localhost', '127.3.2.1', '::1']")
        )
        == []
    )


def test_open_to_everybody(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\nallow_anonymous = true\n[[listeners]]\naddress = '*'\n[[listeners]]\naddress = ['10.0.0.1', '::']\n"
        "port = 1\nallow_anonymous = true\n",
    )
    assert warnings(path) == [
        f"noctule.toml:2: warning: allow_anonymous: everybody who can reach *:1883 {OPEN}",
        f"noctule.toml:8: warning: listeners[1].allow_anonymous: everybody who can reach 10.0.0.1:1, [::]:1 {OPEN}",
    ]


def test_passwords_in_plain_text(tmp_path: Path) -> None:
    path = written(tmp_path, "plugins = ['password_file']\n[[listeners]]\naddress = 'broker.example.org'")
    assert warnings(path) == [
        "noctule.toml:2: warning: listeners[0]: passwords cross the network in plain text here: there is no TLS"
    ]


def test_huge_limits(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "[limits]\nmax_packet_size = '256MB'\nmax_queued_bytes = '1GiB'\nconnect_timeout = '1h'\n"
        "max_queued_messages = 2_000_000",
    )
    assert warnings(path) == [
        "noctule.toml:2: warning: limits.max_packet_size: 256MB is a lot: up to 64MB is reasonable",
        "noctule.toml:3: warning: limits.max_queued_bytes: 1GiB is a lot: up to 256MiB is reasonable",
        "noctule.toml:4: warning: limits.connect_timeout: 1h is a lot: up to 2m is reasonable",
        "noctule.toml:5: warning: limits.max_queued_messages: 2,000,000 is a lot: up to 1,000,000 is reasonable",
    ]


@pytest.mark.parametrize(
    ("mode", "text"),
    [
        (0o600, None),
        (0o640, None),
        (0o644, "can be read by everybody (mode 0644): chmod 600 it, or 640 with the broker's group"),
        (0o660, "can be changed by others than its owner (mode 0660): chmod 600 it"),
    ],
)
def test_files_of_others(tmp_path: Path, mode: int, text: str | None) -> None:
    """Also through a link, as Kubernetes mounts secrets."""
    secret = written(tmp_path, "x", "passwd")
    secret.chmod(mode)
    (tmp_path / "link").symlink_to("passwd")
    path = written(tmp_path, f"listener 1883 127.0.0.1\npassword_file {tmp_path}/link\n", "mosquitto.conf")
    expected = [] if text is None else [f"mosquitto.conf:2: warning: password_file: link {text}"]
    assert warnings(path) == expected


@pytest.mark.parametrize(
    ("settings", "admits"),
    [
        (Settings(), True),
        (Settings((ListenerSettings("*"),)), False),
        (Settings((ListenerSettings("*"),), allow_anonymous=True), True),
        (Settings((ListenerSettings("*", allow_anonymous=False),), allow_anonymous=True), False),
        (Settings(allow_anonymous=False), False),
    ],
)
def test_who_is_let_in(settings: Settings, admits: bool) -> None:
    assert settings.admits_anonymous(settings.listeners[0]) is admits


def test_a_plugin_ends_what_nobody_said(tmp_path: Path) -> None:
    settings = loaded(written(tmp_path, "plugins = ['password_file']")).settings
    assert not settings.admits_anonymous(settings.listeners[0])


def test_the_password_of_the_http_port_crosses_the_network(tmp_path: Path) -> None:
    text = '[http]\naddress = "*"\npassword_file = "password"\n'
    (tmp_path / "password").write_text("x")
    (tmp_path / "password").chmod(0o600)
    (found,) = warnings(written(tmp_path, text))
    assert found.startswith("noctule.toml:2: warning: http.address: the password of the HTTP port crosses the network")
    assert warnings(written(tmp_path, text.replace("*", "127.0.0.1"))) == []
