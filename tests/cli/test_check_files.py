"""``noctule check`` opens certificates and keys as ``noctule run`` would: what is wrong, with file and line."""

import datetime
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from net.secured import Authority, make_authority, write_crl
from noctule.cli.main import main

Output = pytest.CaptureFixture[str]

CONFIG = """\
allow_anonymous = false
plugins = ["gate.py"]
[[listeners]]
port = 8883
[listeners.tls]
certificate_file = "server.crt"
key_file = "server.key"
ca_file = "ca.pem"
crl_file = "revoked.pem"
[[listeners.tls.certificates]]
certificate_file = "other.crt"
key_file = "other.key"
"""

GATE = """
from noctule.api import Allow, hookimpl


@hookimpl
async def authenticate(client):
    return Allow()
"""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return make_authority(tmp_path)


@pytest.fixture
def folder(tmp_path: Path, authority: Authority) -> Path:
    authority.server("other.example", name="other")
    write_crl(authority, name="revoked.pem")
    (tmp_path / "gate.py").write_text(GATE)
    (tmp_path / "noctule.toml").write_text(CONFIG)
    for path in tmp_path.iterdir():
        path.chmod(0o600)
    return tmp_path


def check(folder: Path, capsys: Output) -> tuple[int, list[str]]:
    code = main(["check", "-q", "-c", str(folder / "noctule.toml")])
    return code, capsys.readouterr().err.replace(f"{folder}/", "").splitlines()


def test_what_can_be_used(folder: Path, capsys: Output) -> None:
    assert check(folder, capsys) == (0, [])


def removed(path: Path) -> None:
    path.unlink()


def is_garbage(path: Path) -> None:
    path.write_text("garbage\n")


def is_the_other_key(path: Path) -> None:
    path.write_bytes((path.parent / "other.key").read_bytes())


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        (
            "server.crt",
            removed,
            r"6: error: listeners\[0\].tls.certificate_file: server.crt: No such file or directory",
        ),
        ("server.crt", is_garbage, r"6: error: listeners\[0\].tls.certificate_file: server.crt: there is no certifica"),
        ("server.key", removed, r"7: error: listeners\[0\].tls.key_file: server.key: No such file or directory"),
        ("server.key", is_garbage, r"7: error: listeners\[0\].tls.key_file: server.key: there is no private key"),
        (
            "server.key",
            is_the_other_key,
            r"7: error: listeners\[0\].tls.key_file: server.key: it is not the key of ser",
        ),
        ("ca.pem", removed, r"8: error: listeners\[0\].tls.ca_file: ca.pem: No such file or directory"),
        ("ca.pem", is_garbage, r"8: error: listeners\[0\].tls.ca_file: ca.pem: there is nothing in PEM form in it"),
        ("revoked.pem", removed, r"9: error: listeners\[0\].tls.crl_file: revoked.pem: No such file or directory"),
        (
            "other.crt",
            removed,
            r"11: error: listeners\[0\].tls.certificates\[0\].certificate_file: other.crt: No such fi",
        ),
        ("other.key", removed, r"12: error: listeners\[0\].tls.certificates\[0\].key_file: other.key: No such file"),
    ],
)
def test_what_cannot(folder: Path, capsys: Output, name: str, change: Callable[[Path], None], text: str) -> None:
    change(folder / name)
    code, (error, end) = check(folder, capsys)
    assert code == 3
    assert re.match(r"noctule\.toml:" + text, error)
    assert end == "noctule: 1 error in the configuration"


def test_every_listener_is_told_of(folder: Path, capsys: Output) -> None:
    more = CONFIG.replace("8883", "8884").partition("[[listeners]]")[2].replace("server.crt", "none.crt")
    with (folder / "noctule.toml").open("a") as file:
        file.write("[[listeners]]" + more)
    (folder / "server.key").unlink()
    code, errors = check(folder, capsys)
    assert code == 3
    assert [error.split(": ")[0] for error in errors[:-1]] == ["noctule.toml:7", "noctule.toml:16"]
    assert errors[-1] == "noctule: 2 errors in the configuration"


@pytest.mark.parametrize(
    ("days", "text"), [(-5, "has ended 5 days ago: clients will refuse it"), (5, "ends in 5 days")]
)
def test_certificates_that_end(folder: Path, authority: Authority, capsys: Output, days: int, text: str) -> None:
    """The broker would start with them, and say the same."""
    ends = datetime.datetime.now(tz=datetime.UTC) + datetime.timedelta(days=days, hours=6 if days > 0 else -6)
    authority.server("other.example", name="other", not_after=ends)
    assert check(folder, capsys) == (
        0,
        [f"noctule.toml:11: warning: listeners[0].tls.certificates[0].certificate_file: other.crt: it {text}"],
    )


def test_in_a_mosquitto_conf_it_is_called_what_it_is_called_there(folder: Path, capsys: Output) -> None:
    path = folder / "mosquitto.conf"
    path.write_text(f"listener 8883\nallow_anonymous true\ncertfile {folder}/server.crt\nkeyfile {folder}/none.key\n")
    assert main(["check", "-q", "-c", str(path)]) == 3
    assert f"{path}:4: error: keyfile: {folder}/none.key: No such file or directory\n" in capsys.readouterr().err
