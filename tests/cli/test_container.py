"""The entry point of the image, without an image: configuration, first user, what is run; and the health check."""

import os
import socket
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from noctule.auth.password_file import read_passwords
from noctule.cli.container import (
    ContainerError,
    FirstUser,
    Layout,
    find_config,
    first_user_of,
    prepare,
)
from noctule.cli.container_health import check, connect_packet
from noctule.protocol.connect import decode_connect

DATA = "NOCTULE__DATA_DIRECTORY"
PLUGIN_PATH = "NOCTULE__PLUGINS__PASSWORD_FILE__PATH"
HTTP_USER = "NOCTULE__HTTP__USER"
HTTP_PASSWORD_FILE = "NOCTULE__HTTP__PASSWORD_FILE"
ALICE = {"NOCTULE_USERNAME": "alice", "NOCTULE_PASSWORD": "pw"}


@pytest.fixture
def layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Layout:
    """An image below tmp_path, without a configuration; nobody becomes another user."""
    own = tmp_path / "container.toml"
    own.write_text('[[listeners]]\naddress = "*"\n[plugins.password_file]\npath = "/nowhere"\n', encoding="utf-8")
    for name in ("config", "data", "log", "etc"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1883)
    return Layout(
        mosquitto_config=tmp_path / "config" / "mosquitto.conf",
        mosquitto_data=tmp_path / "data",
        mosquitto_log=tmp_path / "log",
        config=tmp_path / "etc" / "noctule.toml",
        data=tmp_path / "state",
        own_config=own,
    )


def users_of(path: str | Path) -> set[str]:
    return set(read_passwords(Path(path)).entries)


@pytest.mark.parametrize("words", [["-c", "FILE"], ["-v", "--config", "FILE"], ["--config=FILE", "-v"]])
def test_a_configuration_that_is_named(words: list[str], layout: Layout) -> None:
    layout.mosquitto_config.write_text("", encoding="utf-8")
    found, rest = find_config(words, layout)
    assert found == Path("FILE")
    assert rest == (["-v"] if "-v" in words else [])


def test_which_configuration(layout: Layout) -> None:
    assert find_config([], layout) == (layout.own_config, [])
    layout.config.write_text("", encoding="utf-8")
    assert find_config([], layout) == (layout.config, [])
    layout.mosquitto_config.write_text("", encoding="utf-8")
    assert find_config(["-v"], layout) == (layout.mosquitto_config, ["-v"])


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"NOCTULE_USERNAME": "a"}, "password is empty"),
        ({"NOCTULE_PASSWORD": "a"}, "NOCTULE_USERNAME is not"),
        ({"NOCTULE_PASSWORD_FILE": "/x"}, "NOCTULE_USERNAME is not"),
        ({"NOCTULE_USERNAME": "a", "NOCTULE_PASSWORD": "b", "NOCTULE_PASSWORD_FILE": "/x"}, "both set"),
        ({"NOCTULE_USERNAME": "a", "NOCTULE_PASSWORD_FILE": "/nowhere"}, "cannot be read: No such file"),
        ({"NOCTULE_USERNAME": "a:b", "NOCTULE_PASSWORD": "c"}, "has a ':'"),
        ({"NOCTULE_USERNAME": "a", "NOCTULE_PASSWORD_FILE": os.devnull}, "password is empty"),
    ],
)
def test_half_a_user(variables: dict[str, str], complaint: str) -> None:
    with pytest.raises(ContainerError, match=complaint):
        first_user_of(variables)


@pytest.mark.parametrize(
    ("content", "password"), [(b"pw\n", b"pw"), (b"pw\r\n", b"pw"), (b"pw", b"pw"), (b" p w \n\n", b" p w \n")]
)
def test_a_password_in_a_file(content: bytes, password: bytes, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(content)
    found = first_user_of({"NOCTULE_USERNAME": "a", "NOCTULE_PASSWORD_FILE": str(tmp_path / "secret")})
    assert found == FirstUser("a", password)


def test_nothing_configured(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    start = prepare([], {"PATH": "/bin"}, layout)
    assert start.words == (sys.executable, "-m", "noctule", "run", "-c", str(layout.own_config))
    passwd = layout.data / "passwd"
    assert start.environment == {"PATH": "/bin", DATA: str(layout.data), PLUGIN_PATH: str(passwd)}
    printed = capsys.readouterr().err
    password = printed.split("password   ")[1].split()[0]
    assert len(password) == 20
    assert read_passwords(passwd).entries["noctule"].hash.matches(password.encode())
    assert passwd.stat().st_mode & 0o777 == 0o600
    prepare([], {}, layout)
    assert capsys.readouterr().err == "", "it is told once"


def test_two_images_have_two_passwords(layout: Layout, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare([], {}, layout)
    prepare([], {}, replace(layout, data=tmp_path / "other"))
    first, second = capsys.readouterr().err.split("password   ")[1:]
    assert first.split()[0] != second.split()[0]


def test_a_first_user(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    start = prepare(["-v"], ALICE, layout)
    assert start.words[-1] == "-v"
    assert "pw" not in start.environment.values()
    assert users_of(start.environment[PLUGIN_PATH]) == {"alice"}
    before = Path(start.environment[PLUGIN_PATH]).read_bytes()
    prepare([], ALICE, layout)
    assert Path(start.environment[PLUGIN_PATH]).read_bytes() == before, "the same password is not hashed anew"
    prepare([], {**ALICE, "NOCTULE_PASSWORD": "new"}, layout)
    assert read_passwords(Path(start.environment[PLUGIN_PATH])).entries["alice"].hash.matches(b"new")
    assert capsys.readouterr().err == ""


def with_http(layout: Layout) -> Layout:
    with layout.own_config.open("a", encoding="utf-8") as file:
        file.write('[http]\naddress = "*"\n')
    return layout


def test_the_http_port_has_the_password_that_is_told(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    environment = prepare([], {}, with_http(layout)).environment
    password = capsys.readouterr().err.split("password   ")[1].split()[0]
    assert environment[HTTP_USER] == "noctule"
    file = Path(environment[HTTP_PASSWORD_FILE])
    assert file.parent == layout.data
    assert file.read_text(encoding="utf-8") == password
    assert file.stat().st_mode & 0o777 == 0o600
    # The next start, and one after the file has gone: the user's password is not known then.
    prepare([], {}, layout)
    assert capsys.readouterr().err == ""
    file.unlink()
    prepare([], {}, layout)
    told = capsys.readouterr().err
    assert told == f"noctule: password of the HTTP port: {file.read_text(encoding='utf-8')}\n"
    assert password not in told


def test_the_http_port_has_the_password_of_the_first_user(layout: Layout) -> None:
    environment = prepare([], ALICE, with_http(layout)).environment
    assert environment[HTTP_USER] == "alice"
    file = Path(environment[HTTP_PASSWORD_FILE])
    assert file.read_bytes() == b"pw"
    prepare([], {**ALICE, "NOCTULE_PASSWORD": "longer"}, layout)
    assert file.read_bytes() == b"longer"
    prepare([], {**ALICE, "NOCTULE_PASSWORD": "new"}, layout)
    assert file.read_bytes() == b"new"


@pytest.mark.parametrize("variable", ["NOCTULE__HTTP__PASSWORD", "NOCTULE__HTTP__PASSWORD_FILE"])
def test_a_password_of_the_http_port_that_is_said(variable: str, layout: Layout) -> None:
    environment = prepare([], {**ALICE, variable: "/said"}, with_http(layout)).environment
    assert environment[variable] == "/said"
    assert {HTTP_USER, HTTP_PASSWORD_FILE} & environment.keys() <= {variable}
    assert not (layout.data / "http-password").exists()


def test_mosquittos_folders(layout: Layout) -> None:
    layout.mosquitto_config.write_text("listener 1883\npassword_file passwd\n", encoding="utf-8")
    (layout.mosquitto_config.parent / "passwd").write_text("", encoding="utf-8")
    start = prepare([], {}, layout)
    assert start.environment == {DATA: str(layout.mosquitto_data)}, "who gets in is for the configuration to say"
    assert list(layout.mosquitto_data.iterdir()) == []


@pytest.mark.parametrize("program", ["mosquitto", "/usr/sbin/mosquitto"])
def test_mosquitto_by_its_name(program: str, layout: Layout) -> None:
    start = prepare([program, "-c", "/x.conf", "-d", "-v"], {"NOCTULE__DURABILITY": "memory"}, layout)
    assert start.words[3:] == ("run", "-c", "/x.conf", "-v")


def test_a_first_user_goes_where_the_configuration_says(layout: Layout, tmp_path: Path) -> None:
    layout.config.write_text('[plugins.x]\nplugin = "password_file"\npath = "users"\n', encoding="utf-8")
    (tmp_path / "etc" / "users").write_text("# mine\n", encoding="utf-8")
    start = prepare([], ALICE, layout)
    assert PLUGIN_PATH not in start.environment
    assert users_of(tmp_path / "etc" / "users") == {"alice"}


def test_a_first_user_where_the_configuration_knows_none(layout: Layout) -> None:
    layout.config.write_text('[[listeners]]\naddress = "*"\n', encoding="utf-8")
    start = prepare([], ALICE, layout)
    assert users_of(start.environment[PLUGIN_PATH]) == {"alice"}


def test_state_where_the_configuration_says(layout: Layout, tmp_path: Path) -> None:
    layout.config.write_text('data_directory = "kept"\n', encoding="utf-8")
    assert prepare([], {}, layout).environment[DATA] == str(tmp_path / "etc" / "kept")
    assert prepare([], {DATA: str(tmp_path / "said")}, layout).environment[DATA] == str(tmp_path / "said")


def test_state_where_the_store_itself_says(layout: Layout, tmp_path: Path) -> None:
    """`data_directory` beside it would contradict it."""
    layout.config.write_text('[plugins.sqlite_store]\npath = "kept"\n', encoding="utf-8")
    assert DATA not in prepare([], {}, layout).environment
    assert (tmp_path / "etc" / "kept").is_dir()
    assert not layout.data.exists()


@pytest.mark.parametrize("words", [["--data", "DIRECTORY"], ["--data=DIRECTORY"]])
def test_state_where_the_command_line_says(words: list[str], layout: Layout, tmp_path: Path) -> None:
    words = [word.replace("DIRECTORY", str(tmp_path / "said")) for word in words]
    assert prepare(words, ALICE, layout).words[-len(words) :] == tuple(words)
    assert (tmp_path / "said").is_dir()


def test_a_place_that_cannot_be_made(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ContainerError, match="chown 1883:1883"):
        prepare([], {}, replace(layout, data=tmp_path / "file" / "state"))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["sh", "-c", "x"], ("-c", "x")),
        (["passwd", "-c", "f", "u"], ("-m", "noctule", "passwd", "-c", "f", "u")),
    ],
)
def test_other_programs(words: list[str], expected: tuple[str, ...], layout: Layout) -> None:
    start = prepare(words, dict(os.environ), layout)
    assert start.words[1:] == expected
    assert not layout.data.exists()


def test_no_such_program(layout: Layout) -> None:
    with pytest.raises(ContainerError, match="there is no program no-such-thing"):
        prepare(["no-such-thing"], {}, layout)


@pytest.mark.parametrize("user", [None, FirstUser("alice", b"pw" * 100)])
def test_the_packet_of_the_health_check(user: FirstUser | None) -> None:
    packet = connect_packet(user)
    assert packet[0] == 0x10
    body = packet[2:] if user is None else packet[3:]
    decoded = decode_connect(body)
    assert decoded.user_name == (None if user is None else "alice")
    assert decoded.password == (None if user is None else b"pw" * 100)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (b"\x20\x02\x00\x00", None),
        (b"\x20\x02\x00\x05", None),  # a refusal is a sign of life
        (b"", "no CONNACK"),
        (b"HTTP", "no CONNACK"),
    ],
)
def test_health(answer: bytes, expected: str | None, layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        layout.config.write_text(f"[[listeners]]\nport = {port}\n", encoding="utf-8")
        found = check({}, layout)
        thread.join()
    assert found == (None if expected is None else f"127.0.0.1:{port}: {expected}")


def test_the_health_of_no_broker(layout: Layout) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    layout.config.write_text(f"[[listeners]]\nport = {port}\n", encoding="utf-8")
    found = check({}, layout)
    assert found is not None
    assert "refused" in found
