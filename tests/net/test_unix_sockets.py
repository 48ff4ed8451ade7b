"""Unix sockets, and those of systemd: what is replaced and what is not, who may connect, what cannot be."""

import errno
import os
import socket
import stat
from pathlib import Path

import pytest
import trio
from noctule.config.settings import ListenerSettings, UnixSocketSettings
from noctule.net.errors import ListenError
from noctule.net.listeners import Listening, open_listeners
from noctule.net.systemd import passed_descriptors, take_sockets
from noctule.net.unix_sockets import user_name_of


def open_path(path: Path, **fields: object) -> Listening:
    settings = UnixSocketSettings(**fields)  # type: ignore[arg-type]
    (opened,) = trio.run(open_listeners, ListenerSettings(path=path, unix=settings))
    return opened


@pytest.mark.parametrize("mode", ["0660", "0600", "666", "0777"])
def test_permissions(tmp_path: Path, mode: str) -> None:
    before = os.umask(0o077)
    try:
        opened = open_path(tmp_path / "x.sock", mode=mode)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.sock").stat().st_mode) == int(mode, 8)
    opened.close()
    assert not (tmp_path / "x.sock").exists()


def test_owner_and_group(tmp_path: Path) -> None:
    own = user_name_of(os.getuid())
    opened = open_path(tmp_path / "x.sock", owner=own)
    assert (tmp_path / "x.sock").stat().st_uid == os.getuid()
    opened.close()
    with pytest.raises(ListenError, match="there is no user nosuchuser"):
        open_path(tmp_path / "x.sock", owner="nosuchuser")
    with pytest.raises(ListenError, match="there is no group nosuchgroup"):
        open_path(tmp_path / "x.sock", owner=own, group="nosuchgroup")
    assert not (tmp_path / "x.sock").exists()


def test_a_socket_that_nobody_listens_on_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    opened = open_path(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    opened.close()


def test_a_socket_in_use_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    first = open_path(path)
    with pytest.raises(ListenError, match="another program listens there"):
        open_path(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    first.close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_another_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenError, match="a file that is no socket"):
        open_path(path)
    assert os.path.lexists(path)


def test_a_path_that_another_has_taken_over_stays(tmp_path: Path) -> None:
    path = tmp_path / "x.sock"
    first = open_path(path)
    path.unlink()
    second = open_path(path)
    first.close()
    assert path.exists()
    second.close()
    second.close()
    assert not path.exists()


@pytest.mark.parametrize(
    ("path", "error"), [("missing/x.sock", errno.ENOENT), ("x" * 200, None)], ids=["no folder", "too long"]
)
def test_a_path_that_cannot_be(tmp_path: Path, path: str, error: int | None) -> None:
    with pytest.raises(ListenError, match=os.strerror(error) if error else "too long"):
        open_path(tmp_path / path)


def test_a_user_without_a_name() -> None:
    assert user_name_of(3_999_999_999) == "3999999999"


ENVIRONMENT = {"LISTEN_PID": "7", "LISTEN_FDS": "3", "LISTEN_FDNAMES": "mqtt:web:mqtt"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, {"mqtt": [3, 5], "web": [4]}),
        ({"LISTEN_PID": "8"}, {}),
        ({"LISTEN_PID": ""}, {}),
        ({"LISTEN_FDS": ""}, {}),
        ({"LISTEN_FDS": "-1"}, {}),
        ({"LISTEN_FDS": "99999999"}, {}),
        ({"LISTEN_FDNAMES": ""}, {"unknown": [3, 4, 5]}),
        ({"LISTEN_FDNAMES": "mqtt"}, {"mqtt": [3], "unknown": [4, 5]}),
    ],
)
def test_what_systemd_passes(change: dict[str, str], expected: dict[str, list[int]]) -> None:
    assert passed_descriptors({**ENVIRONMENT, **change}, 7) == expected


def test_sockets_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as passed:
        monkeypatch.setattr("noctule.net.systemd._FIRST_DESCRIPTOR", passed.fileno())
        environment = {"LISTEN_PID": "7", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "mqtt"}
        with pytest.raises(ListenError, match="no listening stream socket"):
            take_sockets("mqtt", environment, 7)
        passed.bind(("127.0.0.1", 0))
        passed.listen()
        (taken,) = take_sockets("mqtt", environment, 7)
        with taken:
            assert taken.getsockname() == passed.getsockname()
            assert not taken.getblocking()
            assert not taken.get_inheritable()
        with pytest.raises(ListenError, match="the sockets other of systemd: it has passed mqtt"):
            take_sockets("other", environment, 7)
        with pytest.raises(ListenError, match="none at all"):
            take_sockets("mqtt", environment, 8)
