"""The users of a file: who is let in, and what is said of a file that cannot be used."""

import queue
from collections.abc import Callable
from pathlib import Path

import pytest
from noctule.api import Allow, Deny, PluginError
from noctule.testing.harness import PluginHarness, make_client
from noctule.testing.running import RunningBroker
from noctule_example.users import Users, UsersConfig, line_for


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "users.toml"
    path.write_text(line_for("ann", b"wonderland") + "\n", encoding="utf-8")
    return path


@pytest.fixture
def plugin(file: Path) -> PluginHarness:
    return PluginHarness(Users(UsersConfig(file)))


def test_who_knows_the_password_is_let_in(plugin: PluginHarness) -> None:
    assert plugin.authenticate("ann", b"wonderland") == Allow()


@pytest.mark.parametrize(
    ("user_name", "password"),
    [("ann", b"Wonderland"), ("ann", b""), ("bob", b"wonderland"), ("", b""), ("ann\0", b"wonderland")],
)
def test_nobody_else_is(plugin: PluginHarness, user_name: str, password: bytes) -> None:
    assert isinstance(plugin.authenticate(user_name, password), Deny)


@pytest.mark.parametrize(("user_name", "password"), [(None, None), ("ann", None), (None, b"wonderland")])
def test_without_name_or_password_it_has_nothing_to_say(
    plugin: PluginHarness, user_name: str | None, password: bytes | None
) -> None:
    assert plugin.authenticate(user_name, password) is None


def test_the_refusal_does_not_tell_what_was_wrong(plugin: PluginHarness) -> None:
    assert plugin.authenticate("ann", b"?") == plugin.authenticate("bob", b"?")


def test_a_reload_reads_the_file_again(plugin: PluginHarness, file: Path) -> None:
    file.write_text(line_for("bob", b"b") + "\n", encoding="utf-8")
    assert plugin.authenticate("ann", b"wonderland") == Allow()
    plugin.reload(UsersConfig(file))
    assert isinstance(plugin.authenticate("ann", b"wonderland"), Deny)
    assert plugin.authenticate("bob", b"b") == Allow()
    assert plugin.recheck(make_client(user_name="ann")) == Deny("this user has been removed")
    assert plugin.recheck(make_client(user_name="bob")) is None
    assert plugin.recheck(make_client(user_name=None)) is None


def test_a_reload_of_a_broken_file_changes_nothing(plugin: PluginHarness, file: Path) -> None:
    file.write_text("ann = \n", encoding="utf-8")
    with pytest.raises(PluginError, match=r"users\.toml: .*line 1"):
        plugin.reload(UsersConfig(file))
    assert plugin.authenticate("ann", b"wonderland") == Allow()


@pytest.mark.parametrize("text", ["plain", "", "scrypt$zz$00", "scrypt$00$00", "md5$00$00"])
def test_a_line_that_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.toml"
    path.write_text(f'ann = "{text}"\n', encoding="utf-8")
    with pytest.raises(PluginError, match=r"users\.toml: user ann: expected scrypt"):
        Users(UsersConfig(path))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"none\.toml: No such file"):
        Users(UsersConfig(tmp_path / "none.toml"))


def test_with_a_client(file: Path, noctule_broker_factory: Callable[..., RunningBroker]) -> None:
    """The same through a broker and paho-mqtt."""
    paho = pytest.importorskip("paho.mqtt.client")
    broker = noctule_broker_factory(Users(UsersConfig(file)))
    for password, expected in (("wonderland", "Success"), ("guess", "Not authorized")):
        answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        client.on_connect = lambda c, d, flags, code, p, answers=answers: answers.put(str(code))
        client.username_pw_set("ann", password)
        client.connect(broker.host, broker.port)
        client.loop_start()
        assert answers.get(timeout=10) == expected
        client.disconnect()
        client.loop_stop()
