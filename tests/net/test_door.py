"""A listening socket that everybody comes in by: links are made in the reactor, as they would be outside of it."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from handlers.direct_links import DirectBroker
from noctule.config.settings import ListenerLimits, ListenerSettings, Protocol, ProxySettings
from noctule.core.origin import Origin
from noctule.net.entrance import Entrance

if sys.platform.startswith("linux"):
    from noctule._speedups.reactor import Door, Reactor, SocketLink


class House:
    """A reactor with one door."""

    def __init__(self, listening: socket.socket, burst: int = 64) -> None:
        self.broker = DirectBroker()
        self.listening = listening
        self.asked: list[str] = []
        self.failures: list[tuple[str, int | None]] = []
        self.slow = 0
        self.reactor = Reactor(self.broker.state.plane, lambda link: None)
        self.origins: dict[str, Origin] = {}
        self.door = Door(
            self.broker.state.router,
            self.broker.dispatcher,
            self.broker.state.links,
            burst=burst,
            origin_of=self.origin_of,
            connect_timeout_s=lambda: 7.0,
            failed=lambda peer, error: self.failures.append((peer, error.errno)),
            accept_slowly=self.accept_slowly,
        )
        self.reactor.watch_door(listening.fileno(), self.door)

    def origin_of(self, host: str) -> Origin:
        self.asked.append(host)
        return self.origins.setdefault(host, Origin(ListenerSettings(), host))

    def accept_slowly(self) -> None:
        self.slow += 1

    def turn(self) -> None:
        self.reactor.turn(self.broker.state.plane.now, linger_long=False)

    @property
    def links(self) -> list[SocketLink]:
        found = [link for link in self.broker.state.links if isinstance(link, SocketLink)]
        return sorted(found, key=lambda link: link.peer)


@contextmanager
def house(host: str = "127.0.0.1", family: int = socket.AF_INET, burst: int = 64) -> Iterator[House]:
    with socket.socket(family) as listening:
        listening.bind((host, 0))
        listening.listen()
        listening.setblocking(False)
        made = House(listening, burst)
        try:
            yield made
        finally:
            for link in list(made.broker.state.links):
                link.close()
            made.reactor.close()


def named(client: socket.socket) -> str:
    host, port = client.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def test_each_becomes_a_link_that_is_named_by_its_address() -> None:
    with house() as made:
        clients = [socket.create_connection(made.listening.getsockname()) for _ in range(3)]
        other = socket.create_connection(made.listening.getsockname(), source_address=("127.0.0.2", 0))
        made.turn()
        assert [link.peer for link in made.links] == sorted(named(one) for one in (*clients, other))
        assert made.asked == ["127.0.0.1", "127.0.0.2"]
        assert [link.origin.address for link in made.links] == ["127.0.0.1"] * 3 + ["127.0.0.2"]
        assert {link.deadline for link in made.links} == {made.broker.state.plane.now + 7.0}
        first = clients[0]
        first.sendall(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x00\x00\x01c")
        made.turn()
        assert first.recv(10) == b"\x20\x02\x00\x00"
        session = made.broker.state.sessions.find("c")
        assert session is not None
        assert session.client.peer == named(first)
        for client in (*clients, other):
            client.close()
        made.turn()
        assert not made.links


def test_it_has_addresses_of_version_6() -> None:
    with house("::1", socket.AF_INET6) as made:
        client = socket.create_connection(made.listening.getsockname()[:2])
        made.turn()
        (link,) = made.links
        assert link.peer == named(client)
        assert made.asked == ["::1"]
        client.close()


def test_answers_leave_at_once() -> None:
    """TCP_NODELAY is the listening socket's, and so that of each connection."""
    with house() as made:
        client = socket.create_connection(made.listening.getsockname())
        made.turn()
        (link,) = made.links
        accepted = socket.socket(fileno=link.fileno)
        try:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        finally:
            accepted.detach()
        client.close()


def test_a_burst_that_ends_early_is_gone_on_with() -> None:
    with house(burst=2) as made:
        clients = [socket.create_connection(made.listening.getsockname()) for _ in range(5)]
        made.turn()  # as many rounds as it takes: nobody is left behind
        assert len(made.links) == 5
        for client in clients:
            client.close()


def test_a_failure_is_looked_into_slowly() -> None:
    with house() as made, socket.socket() as closed:
        # A socket that does not listen is readable and cannot be accepted from.
        made.reactor.watch_door(closed.fileno(), made.door)
        made.turn()
        assert made.slow >= 1
        assert not made.links


def test_what_fails_about_one_address_keeps_nobody_else_out() -> None:
    with house() as made:

        def fail(host: str) -> Origin:
            raise OSError(errno.ENOMEM, host)

        logged: list[object] = []
        reactor = Reactor(made.broker.state.plane, logged.append)
        door = Door(
            made.broker.state.router,
            made.broker.dispatcher,
            made.broker.state.links,
            burst=64,
            origin_of=fail,
            connect_timeout_s=lambda: 7.0,
            failed=lambda peer, error: None,
            accept_slowly=made.accept_slowly,
        )
        made.reactor.unwatch(made.listening.fileno())
        reactor.watch_door(made.listening.fileno(), door)
        client = socket.create_connection(made.listening.getsockname())
        reactor.turn(0.0, linger_long=False)
        assert logged == [None]
        assert client.recv(1) == b""
        client.close()
        reactor.unwatch(made.listening.fileno())
        reactor.close()
        made.reactor.watch_door(made.listening.fileno(), made.door)


def test_after_the_door_is_shut_nobody_comes_in() -> None:
    with house() as made:
        made.reactor.unwatch(made.listening.fileno())
        client = socket.create_connection(made.listening.getsockname())
        made.turn()
        assert not made.links
        made.reactor.watch_door(made.listening.fileno(), made.door)
        made.turn()
        assert len(made.links) == 1
        client.close()


@pytest.mark.parametrize(
    ("settings", "is_open"),
    [
        (ListenerSettings(), True),
        (ListenerSettings(limits=ListenerLimits(max_connections=5)), False),
        (ListenerSettings(limits=ListenerLimits(max_connections_per_address=5)), False),
        (ListenerSettings(limits=ListenerLimits(accepts_per_s_max=5)), False),
        (ListenerSettings(protocol=Protocol.WEBSOCKET), False),
        (ListenerSettings(proxy=ProxySettings(("127.0.0.1",), 2)), False),
    ],
)
def test_only_where_nothing_is_counted_or_in_between(settings: ListenerSettings, *, is_open: bool) -> None:
    assert Entrance(settings).is_open_door is is_open
