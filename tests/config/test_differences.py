"""What a reload would report."""

from pathlib import Path

from config.reading import loaded, written
from noctule.config.differences import differences, in_effect
from noctule.config.loading import load
from noctule.config.settings import Settings
from noctule.hooks.loading import config_of_plugin

OLD = """
allow_anonymous = true
[limits]
max_packet_size = "1MB"
[[listeners]]
port = 1
[[listeners]]
port = 2
[plugins.password_file]
path = "a"
[plugins.access_file]
"""
NEW = """
allow_anonymous = false
share_strategy = "sticky"
pid_file = "/run/x.pid"
[limits]
max_packet_size = "2MB"
connect_timeout = "5s"
[logging]
level = "debug"
[[listeners]]
port = 2
allow_anonymous = true
[[listeners]]
address = ["::1", "127.0.0.1"]
port = 3
[plugins.password_file]
path = "b"
[plugins.mine]
plugin = "password_file"
"""


def test_differences(tmp_path: Path) -> None:
    old, new = loaded(written(tmp_path, OLD)).settings, loaded(written(tmp_path, NEW)).settings
    assert [str(change) for change in differences(old, new)] == [
        "listener 127.0.0.1:1: removed",
        "listener 127.0.0.1:2: allow_anonymous: not set → true",
        "listener [::1]:3, 127.0.0.1:3: added",
        'limits.max_packet_size: "1MB" → "2MB"',
        'limits.connect_timeout: "10s" → "5s"',
        'share_strategy: "round_robin" → "sticky" (needs a restart)',
        "allow_anonymous: true → false",
        'pid_file: not set → "/run/x.pid" (needs a restart)',
        'logging.level: "info" → "debug"',
        "plugin access_file: removed (needs a restart)",
        "plugin password_file: changed: path",
        "plugin mine: added (needs a restart)",
    ]
    assert [change.needs_restart for change in differences(old, new)].count(True) == 4


def test_none(tmp_path: Path) -> None:
    """The same said in other words, and from another file, is no difference."""
    old = loaded(written(tmp_path, OLD)).settings
    same = loaded(written(tmp_path, "\n\n" + OLD.replace('"1MB"', "1_000_000"), "other.toml")).settings
    assert differences(old, same) == ()


def test_the_order_of_plugins(tmp_path: Path) -> None:
    one = loaded(written(tmp_path, "plugins = ['password_file', 'access_file']")).settings
    other = loaded(written(tmp_path, "plugins = ['access_file', 'password_file']")).settings
    assert [str(change) for change in differences(one, other)] == ["plugins: in another order (needs a restart)"]


def test_what_needs_a_restart_stays_as_it_was(tmp_path: Path) -> None:
    old, new = loaded(written(tmp_path, OLD)).settings, loaded(written(tmp_path, NEW)).settings
    now = in_effect(old, new, loaded=())
    assert (now.share_strategy, now.pid_file) == (old.share_strategy, old.pid_file)
    assert (now.limits, now.log, now.listeners) == (new.limits, new.log, new.listeners)
    assert [(one.name, one.options) for one in now.plugins] == [("password_file", {"path": "b"}), ("access_file", {})]
    assert [str(change) for change in differences(now, new)] == [
        str(change) for change in differences(old, new) if change.needs_restart
    ]
    assert in_effect(new, new, loaded=()) is new
    assert [one.name for one in in_effect(old, new, loaded={"mine"}).plugins] == [
        "password_file",
        "access_file",
        "mine",
    ]


def test_options_of_plugins_that_need_a_restart(tmp_path: Path) -> None:
    def settings(size: str) -> Settings:
        path = written(tmp_path, f"[plugins.sqlite_store]\ncache_size = '{size}'\n")
        return load(path, environment={}, config_of_plugin=config_of_plugin).settings

    old, new = settings("1MiB"), settings("2MiB")
    (change,) = differences(old, new)
    assert str(change) == "plugin sqlite_store: changed: cache_size (needs a restart)"
    now = in_effect(old, new, loaded=())
    assert now.plugins[0].config == old.plugins[0].config
    assert differences(now, old) == ()
    assert differences(now, new) == (change,)
