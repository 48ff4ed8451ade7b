"""``include``: the files of a directory in the order of their names, merged with the main one."""

from pathlib import Path

from config.reading import errors, loaded, written
from noctule.config.settings import ListenerSettings


def test_files_in_order(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "include = 'conf.d'\nplugins = ['password_file']\n[limits]\nreceive_maximum = 1\nmax_packet_size = 100\n"
        "[[listeners]]\nport = 1",
    )
    written(tmp_path, "[limits]\nreceive_maximum = 3\n[[listeners]]\nport = 3", "conf.d/20.toml")
    written(
        tmp_path, "[limits]\nreceive_maximum = 2\n[[listeners]]\nport = 2\n[[listeners]]\nport = 22", "conf.d/10.toml"
    )
    written(tmp_path, "[plugins.access_file]\npath = 'x'\n[plugins.password_file]\npath = 'y'", "conf.d/30.toml")
    written(tmp_path, "not read", "conf.d/30.toml.bak")
    written(tmp_path, "not read", "conf.d/.hidden.toml")
    (tmp_path / "conf.d" / "directory.toml").mkdir()
    read = loaded(path)
    assert read.settings.limits.receive_maximum == 3
    assert read.settings.limits.packet_max_bytes == 100
    assert read.settings.listeners == tuple(ListenerSettings(port=port) for port in (1, 2, 22, 3))
    assert [(plugin.name, dict(plugin.options)) for plugin in read.settings.plugins] == [
        ("password_file", {"path": "y"}),
        ("access_file", {"path": "x"}),
    ]
    folder = tmp_path / "conf.d"
    assert read.sources == (path, folder / "10.toml", folder / "20.toml", folder / "30.toml")


def test_errors_are_where_they_were_said(tmp_path: Path) -> None:
    path = written(tmp_path, "include = 'conf.d'\n[[listeners]]\nport = 99999")
    written(tmp_path, "[[listeners]]\n\nport = 88888\n[[listeners]]\nport = '1'", "conf.d/a.toml")
    written(tmp_path, "[limits]\nreceive_maximum = 0\n[[listeners]]\nprt = 1", "conf.d/b.toml")
    expected = "expected a whole number from"
    assert errors(path) == [
        f"noctule.toml:3: error: listeners[0].port: {expected} 0 to 65535; got 99999",
        f"conf.d/a.toml:3: error: listeners[1].port: {expected} 0 to 65535; got 88888",
        f'conf.d/a.toml:5: error: listeners[2].port: {expected} 0 to 65535; got "1"',
        f"conf.d/b.toml:2: error: limits.receive_maximum: {expected} 1 to 65535; got 0",
        'conf.d/b.toml:4: error: listeners[3].prt: unknown key; did you mean "port"?',
    ]


def test_a_broken_file_does_not_hide_the_others(tmp_path: Path) -> None:
    path = written(tmp_path, "include = 'conf.d'\ntypo = 1")
    written(tmp_path, "x", "conf.d/a.toml")
    written(tmp_path, "include = 'more'", "conf.d/b.toml")
    (tmp_path / "conf.d" / "c.toml").symlink_to("nowhere")
    found = errors(path)
    assert found[0].startswith("noctule.toml:1: error: ")
    assert found[0].endswith("conf.d/c.toml: cannot be read: No such file or directory")
    assert found[1] == "noctule.toml:2: error: typo: unknown key"
    assert found[2].startswith("conf.d/a.toml:1: error: not TOML: ")
    assert found[3] == "conf.d/b.toml:1: error: include: only the main file may include others"
    assert len(found) == 4


def test_no_directory(tmp_path: Path) -> None:
    path = written(tmp_path, "include = 'none'")
    assert errors(path) == [
        "noctule.toml:1: error: include: the directory none cannot be read: No such file or directory"
    ]
    assert errors(written(tmp_path, "include = 3")) == [
        "noctule.toml:1: error: include: expected the path of a directory, in quotes"
    ]


def test_links_are_followed(tmp_path: Path) -> None:
    """As Kubernetes mounts a ConfigMap: links to a directory that is a link itself."""
    written(tmp_path, "[limits]\nreceive_maximum = 9", "..2026_01/limits.toml")
    written(tmp_path, "include = 'conf.d'", "..2026_01/noctule.toml")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "noctule.toml").symlink_to("..data/noctule.toml")
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "limits.toml").symlink_to("../..data/limits.toml")
    assert loaded(tmp_path / "noctule.toml").settings.limits.receive_maximum == 9
