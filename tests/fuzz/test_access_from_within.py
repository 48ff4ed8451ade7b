"""Access decisions that do what they must not, amid a message: an error or nothing, and no broken memory."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from noctule._speedups.codec import encode_publish
from noctule._speedups.link import CLOSED, Link
from noctule._speedups.message import Message
from noctule._speedups.router import Router
from speedups.recording import PUBACK, PUBREL, Peer, Recorder, make_router

ALL_RIGHTS = 11


class Meddling:
    """Allows everything, but does something first, once."""

    def __init__(
        self, *, receiving: Callable[[], object] | None = None, publishing: Callable[[], object] | None = None
    ) -> None:
        self._receiving = receiving
        self._publishing = publishing

    def may_receive(self, topic: bytes) -> bool:
        action, self._receiving = self._receiving, None
        if action is not None:
            action()
        return True

    def rule_of(self, action: object, topic: str) -> str:
        return "a test"

    def publish_rights(self, topic: bytes) -> int:
        action, self._publishing = self._publishing, None
        if action is not None:
            action()
        return ALL_RIGHTS


def meddle(router: Router, peer: Peer, **actions: Callable[[], object]) -> None:
    """From now on the peer's access does something when it is asked."""
    peer.session.access = Meddling(**actions)
    router.access_changed()


def feed(peer: Peer, *packets: bytes) -> None:
    """What a decision must not do may come out as an error; the connection is closed then, as its carrier would."""
    with suppress(RuntimeError):
        peer.send(*packets)
        return
    peer.link.lose("an error of the broker's")


@pytest.mark.parametrize("share_name", [None, b"group"], ids=["each", "shared"])
def test_a_decision_that_ends_sessions_while_a_route_is_built(share_name: bytes | None) -> None:
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    others = [Peer(router, str(i)).connect() for i in range(50)]
    asked = Peer(router, "asked").connect()

    def end_all() -> None:
        for other in others:
            router.end_session(other.session)

    for peer in (*others[:25], asked, *others[25:]):
        router.subscribe(peer.session, b"t", 0, 0, 0, share_name)
    meddle(router, asked, receiving=end_all)
    feed(publisher, encode_publish(b"t", b"1", 5))
    Peer(router, "later").connect().publish(b"t", b"2")
    for peer in (*others, asked):
        router.end_session(peer.session)
    assert router.filters.node_count == 0


def test_a_decision_that_publishes_while_a_route_is_built() -> None:
    """The inner route has more sessions than the outer: an index of the one would lie outside of the other."""
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    reader = Peer(router, "reader").connect()
    asked = Peer(router, "asked").connect()
    crowd = [Peer(router, str(i)).connect().subscribe(b"audit") for i in range(1_000)]
    reader.subscribe(b"audit").subscribe(b"t/+")
    asked.subscribe(b"t/a")
    reader.subscribe(b"+/a")
    for peer in crowd:
        peer.subscribe(b"audit")
    for way in range(2):
        meddle(router, asked, receiving=lambda: router.publish_message(Message(b"audit", b"x")))
        feed(publisher, encode_publish(b"t/a", b"%d" % way, 5))
        assert reader.payloads().count(b"%d" % way) <= 1
        publisher.connect()


def test_a_decision_that_closes_the_link_that_publishes() -> None:
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    for qos in (0, 1, 2):
        meddle(router, publisher, publishing=lambda: publisher.link.close())
        feed(publisher, encode_publish(b"t", b"", 5, qos, packet_id=1 if qos else 0) * 3)
        assert publisher.link.state == CLOSED
        publisher.connect()


class Kicking(Recorder):
    """Closes whoever publishes what it may not."""

    def denied(self, link: Link, topic: bytes) -> None:
        link.close()


def test_a_handler_that_closes_the_link_whose_released_message_is_denied() -> None:
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    publisher.link.close()
    publisher.link = Link(router, Kicking(), "peer:1")
    publisher.link.open(publisher.session, 5, 0)
    publisher.publish(b"t", b"", 2, 1)
    publisher.session.access = Meddling()
    publisher.session.access.publish_rights = lambda topic: 0
    router.access_changed()
    publisher.ack(PUBREL, 1)
    assert publisher.link.state == CLOSED


@pytest.mark.parametrize("action", ["close", "discard", "end"])
def test_a_decision_that_takes_away_what_is_being_sent(action: str) -> None:
    """In the backlog, and in what an earlier connection left."""
    for resumed in (False, True):
        router = make_router(inflight_max=1)
        publisher = Peer(router, "publisher").connect()
        reader = Peer(router, "reader").connect().subscribe(b"t", 1)
        for _ in range(50):
            publisher.publish(b"t", b"x", 1, 1)
        reader.received()

        def act(router: Router = router, reader: Peer = reader) -> None:
            if action == "close":
                reader.link.close()
            elif action == "discard":
                reader.session.discard_state()
            else:
                router.end_session(reader.session)

        if resumed:
            reader.lose()
        meddle(router, reader, receiving=act)
        with suppress(RuntimeError):
            if resumed:
                reader.connect()
            else:
                reader.ack(PUBACK, 1)
        reader.link.close()
        router.end_session(reader.session)
        assert router.filters.node_count == 0
