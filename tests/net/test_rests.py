"""When the reactor waits for events to come together: where many send a little each, and nobody waits for an answer."""

import socket
import sys
from collections.abc import Iterator

import pytest
from noctule._speedups.router import Router
from speedups.recording import Recorder, make_plane

if sys.platform.startswith("linux"):
    from noctule._speedups.link import Link
    from noctule._speedups.reactor import Reactor, SocketLink


class Chain(Recorder):
    """Clients of which each sends when the one before it has been heard, so that every round has one event."""

    def __init__(self, packet: bytes = b"\x10\x00") -> None:
        super().__init__()
        self.router = Router(make_plane())
        self.reactor = Reactor(self.router.plane, lambda link: None)
        self.packet = packet
        self.clients: list[socket.socket] = []
        self.links: list[SocketLink] = []
        self.next = 0
        self.left = 0

    def add(self, count: int) -> None:
        for _ in range(count):
            near, far = socket.socketpair()
            link = SocketLink(self.router, self, "peer:1")
            self.reactor.add(link, far.detach())
            self.clients.append(near)
            self.links.append(link)

    def send_next(self) -> None:
        if self.left:
            self.left -= 1
            self.clients[self.next].sendall(self.packet)
            self.next = (self.next + 1) % len(self.clients)

    def connect(self, link: "Link", body: bytes) -> None:
        """Every packet: a link that is not opened takes each for its first."""
        self.send_next()

    def run(self, messages: int, *, linger_long: bool = True) -> int:
        """How often the reactor has rested meanwhile."""
        before = self.reactor.rests
        self.left = messages
        self.send_next()
        while self.left:
            self.reactor.turn(self.router.plane.now, linger_long)
        return self.reactor.rests - before

    def close(self) -> None:
        for link in self.links:
            link.close()
        for client in self.clients:
            client.close()
        self.reactor.close()


@pytest.fixture
def chain() -> Iterator[Chain]:
    made = Chain()
    yield made
    made.close()


def test_it_rests_among_many_that_send_often(chain: Chain) -> None:
    """It begins to; nothing comes here while it rests, so that they send less often then, and it stops."""
    chain.add(400)
    assert chain.run(120) == 0
    assert chain.run(2_000) > 0


def test_it_does_not_rest_until_it_has_seen_many(chain: Chain) -> None:
    chain.add(60)
    assert chain.run(60) == 0


def test_it_does_not_rest_while_somebody_may_wait_for_an_answer(chain: Chain) -> None:
    chain.add(20)
    assert chain.run(1_200) == 0


def test_it_does_not_rest_while_another_task_waits_for_the_thread(chain: Chain) -> None:
    chain.add(400)
    assert chain.run(1_200, linger_long=False) == 0


def test_it_does_not_rest_where_much_is_sent(chain: Chain) -> None:
    chain.packet = b"\x10\x88\x27" + bytes(5_000)
    chain.add(300)
    assert chain.run(1_200) == 0


def test_what_comes_meanwhile_is_not_lost(chain: Chain) -> None:
    chain.add(400)
    assert chain.run(2_000) > 0
    heard = chain.router.plane.counts["packets_received"][1]
    chain.run(200)
    chain.reactor.turn(chain.router.plane.now)
    assert chain.router.plane.counts["packets_received"][1] == heard + 200
