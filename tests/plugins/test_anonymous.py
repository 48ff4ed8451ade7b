"""Anonymous: who is let in, from where, and what its networks may look like."""

import pytest
import trio
from noctule.api import Allow, Settings
from noctule.plugins.anonymous import Anonymous, AnonymousConfig
from plugin_support.served import checked, client, shown

LOCAL = ("127.0.0.0/8", "::1", "192.168.1.0/24", "2001:db8::/32")


@pytest.mark.parametrize(
    ("user_name", "password", "let_in"),
    [
        (None, None, True),
        ("", None, False),
        ("ada", None, False),
        ("ada", b"pw", False),
        (None, b"token", False),
        ("", b"", False),
    ],
)
def test_only_who_shows_nothing(user_name: str | None, password: bytes | None, let_in: bool) -> None:
    plugin = Anonymous(AnonymousConfig(user_name="guest"))
    answer = trio.run(plugin.authenticate, client(), shown(user_name, password))
    assert answer == (Allow(user_name="guest") if let_in else None)


def test_without_a_name() -> None:
    assert trio.run(Anonymous(AnonymousConfig()).authenticate, client(), shown(None, None)) == Allow(user_name=None)


def test_who_is_proven_by_the_transport_is_not_anonymous() -> None:
    plugin = Anonymous(AnonymousConfig())
    assert trio.run(plugin.authenticate, client(transport_user_name="pump"), shown(None, None)) is None


@pytest.mark.parametrize(
    ("address", "let_in"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("128.0.0.1", False),
        ("192.168.1.255", True),
        ("192.168.2.0", False),
        ("::1", True),
        ("::2", False),
        ("::ffff:192.168.1.4", True),
        ("::ffff:192.168.2.4", False),
        ("2001:db8::5%eth0", True),
        ("fe80::1%eth0", False),
        ("", False),
        ("not an address", False),
        ("192.168.1.4:1883", False),
    ],
)
def test_networks(address: str, let_in: bool) -> None:
    plugin = Anonymous(AnonymousConfig(networks=LOCAL))
    assert (trio.run(plugin.authenticate, client(address=address), shown(None, None)) is not None) == let_in


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ({"networks": ["192.168.1.7/24"]}, "has bits behind its prefix: the network is '192.168.1.0/24'"),
        ({"networks": ["example.org"]}, "'example.org' is no network"),
        ({"networks": ["10.0.0.0/33"]}, "is no network"),
        ({"networks": "10.0.0.0/8"}, "expected an array"),
        ({"user_name": ""}, '"user_name" is empty'),
        ({"user": "x"}, 'did you mean "user_name"?'),
    ],
)
def test_bad_configurations(table: dict[str, object], text: str) -> None:
    problems = checked(table, Anonymous.Config)
    assert isinstance(problems, list)
    assert any(text in problem for problem in problems), problems


def test_a_reload_counts_from_its_function_on() -> None:
    async def main() -> None:
        plugin = Anonymous(AnonymousConfig(networks=("127.0.0.0/8",)))
        apply = await plugin.prepare_reload(AnonymousConfig(user_name="far", networks=("192.0.2.0/24",)), Settings())
        assert await plugin.authenticate(client(), shown(None, None)) is None
        apply()
        assert await plugin.authenticate(client(), shown(None, None)) == Allow(user_name="far")
        assert await plugin.authenticate(client(address="127.0.0.1"), shown(None, None)) is None

    trio.run(main)
