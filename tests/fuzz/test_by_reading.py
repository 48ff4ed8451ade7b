"""What a reading of the compiled modules suspected: each case was a fault once, or would be without the care taken."""

import gc
import socket
import weakref

import pytest
from fuzz import wire
from handlers.direct_links import V5, DirectBroker
from noctule._speedups.codec import encode_publish
from noctule._speedups.link import CLOSED, ENDING, OPEN, Link
from noctule._speedups.reactor import Reactor, SocketLink
from noctule._speedups.session import Session
from noctule.protocol import SubscriptionRequest, Will
from speedups.recording import CONNECT_PACKET, PUBREL, Peer, Recorder, make_plane, make_router

SUBSCRIBE_PACKET = b"\x82\x03abc"


# --- calls back into the modules while they are at work ---


def test_a_watch_that_goes_while_its_event_waits_is_not_called() -> None:
    """Both are readable in one turn; whichever is called first gives up both."""
    reactor = Reactor(make_plane(), lambda link: pytest.fail("nothing may go wrong"))
    first, first_writer = socket.socketpair()
    second, second_writer = socket.socketpair()
    calls = []

    def give_up() -> None:
        calls.append(1)
        reactor.unwatch(first.fileno())
        reactor.unwatch(second.fileno())

    with first, first_writer, second, second_writer:
        reactor.watch(first.fileno(), give_up)
        reactor.watch(second.fileno(), give_up)
        first_writer.send(b"x")
        second_writer.send(b"x")
        reactor.turn(1.0)
        reactor.turn(2.0)
        reactor.close()
    assert len(calls) == 1


class Failing(Recorder):
    """A handler with a fault of its own in whatever it is called for, but for the last call."""

    def packet(self, link: Link, first: int, body: bytes) -> None:
        raise RuntimeError("in packet")

    def lost(self, link: Link, cause: str) -> None:
        raise RuntimeError("in lost")


def test_an_error_while_a_link_is_lost_ends_that_link_alone() -> None:
    logged = []
    router = make_router()
    reactor = Reactor(router.plane, logged.append)
    ours, theirs = socket.socketpair()
    handler = Failing()
    link = SocketLink(router, handler, "peer:1")
    with theirs:
        reactor.add(link, ours.detach())
        link.open(Session(router.plane, "c"), 5, 0)
        theirs.send(SUBSCRIBE_PACKET)
        reactor.turn(1.0)
        assert link.state == CLOSED
        assert reactor.link_count == 0
        assert handler.closed_links == [link]
        assert set(logged) == {link}
        reactor.close()


def test_a_link_paused_with_nothing_behind_keeps_nothing() -> None:
    peer = Peer(make_router()).connect()
    peer.recorder.on_packet = Link.pause
    for byte in SUBSCRIBE_PACKET:
        peer.send(bytes((byte,)))
    assert peer.link.is_paused
    peer.link.resume()
    assert peer.recorder.packets == [(0x82, b"abc")]
    assert peer.link.state == OPEN


@pytest.mark.parametrize("pieces", [1, 4096], ids=["byte by byte", "in one piece"])
@pytest.mark.parametrize("how", ["close", "end", "lose"])
def test_a_handler_may_end_the_link_whose_bytes_are_being_read(pieces: int, how: str) -> None:
    """What stands behind lies in a buffer that goes with the link."""
    peer = Peer(make_router()).connect().subscribe(b"t", 2)

    def end(link: Link) -> None:
        if how == "lose":
            link.lose("by the handler")
        else:
            getattr(link, how)()

    peer.recorder.on_packet = end
    stream = encode_publish(b"t", b"before", 5) * 3 + SUBSCRIBE_PACKET + encode_publish(b"t", b"behind", 5) * 300
    for at in range(0, len(stream), pieces):
        peer.send(stream[at : at + pieces])
    assert len(peer.recorder.packets) == 1
    assert peer.link.state in (CLOSED, ENDING)
    peer.link.close()
    assert peer.recorder.closed_links == [peer.link]


def test_a_handler_may_end_any_other_link_and_session_while_a_run_is_being_read() -> None:
    """The publisher's link keeps the route of its last topic; the sessions on it go between two packets."""
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    others = [Peer(router, f"other {i}").connect().subscribe(b"t", 1) for i in range(50)]
    for other in others[:10]:
        router.subscribe(other.session, b"t", 1, 0, 0, b"group")

    def end_all(link: Link) -> None:
        while others:
            other = others.pop()
            other.link.close()
            router.end_session(other.session)
        gc.collect()

    publisher.recorder.on_packet = end_all
    publisher.publish(b"t", b"1")  # the route is kept
    del other
    publisher.send(
        encode_publish(b"t", b"2", 5) * 5,
        SUBSCRIBE_PACKET,
        encode_publish(b"t", b"3", 5) * 5,
        encode_publish(b"t", b"4", 5, 1, packet_id=1),
    )
    assert [ack.reason_code for ack in publisher.acks()] == [0x10]  # nobody is there any more
    assert router.filters.node_count == 0


def test_a_handler_may_feed_other_links_while_one_is_being_read() -> None:
    router = make_router()
    first = Peer(router, "first").connect().subscribe(b"t", 1)
    second = Peer(router, "second").connect().subscribe(b"t", 1)
    first.recorder.on_packet = lambda link: second.publish(b"t", b"from within", 1, 7)
    first.send(encode_publish(b"t", b"a", 5) * 2, SUBSCRIBE_PACKET, encode_publish(b"t", b"b", 5))
    assert first.payloads() == [b"a", b"a", b"from within", b"b"]
    second.received()


def test_what_joins_the_dirty_list_during_a_flush_is_flushed_with_it() -> None:
    """A link's ``wake`` may write to others, drop them, and ask for a flush itself; the list grows under it."""
    router = make_router()
    peers = [Peer(router, str(i)).connect() for i in range(200)]
    woken = []

    def wake_of(i: int) -> None:
        woken.append(i)
        for other in peers[i + 1 : i + 4]:
            other.link.write(b"\xd0\x00")
        router.plane.flush()
        if i % 7 == 0:
            peers[i].link.wake = None
            peers[i].link.close()

    for i, peer in enumerate(peers):
        peer.link.wake = lambda i=i: wake_of(i)
    peers[0].link.write(b"\xd0\x00")
    router.plane.flush()
    assert set(woken) == set(range(200))


# --- tables that grow and shrink under those who hold on to them ---


def test_acknowledgements_in_any_order_while_the_table_grows_and_shrinks() -> None:
    router = make_router()
    publisher = Peer(router, "publisher").connect()
    peer = Peer(router).connect().subscribe(b"t", 2)
    for size in (1, 5, 300, 2, 40_000, 3):
        for i in range(size):
            publisher.publish(b"t", b"", 1 + i % 2, i % 60_000 + 1)
            if i % 2:
                publisher.ack(PUBREL, i % 60_000 + 1)
        publisher.received()
        waiting = [(found.packet_id, found.qos) for found in peer.publishes()]
        assert len(waiting) == size
        for packet_id, qos in waiting[::2] + waiting[-1 - size % 2 :: -2]:
            if qos == 1:
                peer.send(wire.acknowledge(5, wire.PUBACK, packet_id))
            else:
                peer.send(wire.acknowledge(5, wire.PUBREC, packet_id), wire.acknowledge(5, wire.PUBCOMP, packet_id))
        assert peer.session.unacknowledged == peer.session.in_flight == 0
        peer.received()


def test_every_packet_identifier_of_the_peers_may_be_in_use() -> None:
    """65,535 of 65,536 slots: a search for one that is not there still ends."""
    peer = Peer(make_router(receive_maximum=65_535)).connect()
    for packet_id in range(1, 65_536):
        peer.publish(b"t", b"", 2, packet_id)
    assert peer.session.unreleased == 65_535
    peer.publish(b"t", b"", 2, 65_535, dup=True)
    for packet_id in range(1, 65_536):
        peer.ack(PUBREL, packet_id)
    assert peer.session.unreleased == 0
    assert peer.link.state == OPEN


def test_a_route_in_use_may_be_pushed_out_of_the_cache() -> None:
    """More topics than the cache has room for, between two messages of the link that keeps a route."""
    router = make_router()
    keeper = Peer(router, "keeper").connect()
    other = Peer(router, "other").connect()
    reader = Peer(router, "reader").connect().subscribe(b"kept")
    keeper.publish(b"kept", b"1")
    for i in range(70_000):
        other.publish(b"%d" % i)
    router.unsubscribe(reader.session, b"kept")
    router.end_session(reader.session)
    reader.link.close()
    del reader
    gc.collect()
    keeper.publish(b"kept", b"2", 1, 1)
    assert [ack.reason_code for ack in keeper.acks()] == [0x10]


def test_a_topic_of_as_many_levels_as_there_may_be_meets_filters_of_as_many() -> None:
    """The stacks of both walks are as deep as it gets."""
    levels = 255
    router = make_router(levels_max=levels)
    publisher = Peer(router, "publisher").connect()
    topic = b"/".join([b"a"] * levels)
    filters = [b"/".join([b"+"] * levels), b"#", topic, *(b"/".join([b"+"] * i + [b"#"]) for i in range(1, levels))]
    publisher.publish(topic, b"r", retain=True)
    for one in filters:
        reader = Peer(router).connect().subscribe(one)
        router.send_retained(reader.session, one, 0)
        publisher.publish(topic, b"x")
        assert reader.payloads() == [b"r", b"x"], one
        router.end_session(reader.session)
        reader.link.close()


# --- what belongs to a message or a session when its time has come ---


def test_a_will_that_replaces_an_expiring_retained_message_stays() -> None:
    """Both deadlines are handed out in one go, since the clock's task came late: the Will's first."""
    broker = DirectBroker()
    broker.connect("publisher").send(encode_publish(b"t", b"old", V5, retain=True, properties=b"\x02\0\0\0\x05"))
    will = Will("t", b"new", retain=True, will_delay_interval_s=4, properties=b"\x02\0\0\0\x64")
    broker.connect("gone", session_expiry_interval_s=100, will=will).lose()
    plane = broker.state.plane
    plane.begin_turn(plane.now + 6)
    for item in plane.deadlines.take_due(plane.now):
        broker.dispatcher.deadline(item)
    kept = broker.state.router.retained.get(b"t")
    assert kept is not None
    assert kept.payload == b"new"
    broker.advance(101)
    assert broker.state.router.retained.count == 0
    assert len(plane.deadlines) == 0


def test_a_qos_2_message_that_expires_before_its_release_is_not_delivered() -> None:
    """[MQTT-3.3.2-5]"""
    broker = DirectBroker()
    subscriber = broker.connect("subscriber")
    subscriber.subscribe("t")
    publisher = broker.connect("publisher")
    publisher.send(encode_publish(b"t", b"late", V5, 2, packet_id=1, properties=b"\x02\0\0\0\x05"))
    broker.advance(10)
    publisher.ack(PUBREL, 1)
    assert subscriber.publishes() == []


def test_what_a_gone_member_did_not_acknowledge_goes_to_a_member_of_qos_0() -> None:
    broker = DirectBroker()
    publisher = broker.connect("publisher")
    first = broker.connect("first")
    first.subscribe(SubscriptionRequest("$share/g/t", 1))
    publisher.publish("t", b"m", 1)
    assert first.payloads() == [b"m"]
    second = broker.connect("second")
    second.subscribe(SubscriptionRequest("$share/g/t", 0))
    first.lose()
    broker.state.plane.flush()
    assert second.payloads() == [b"m"]


class Owner:
    """What a session's ``owner`` may be, and can be watched."""


def test_a_stopped_broker_is_freed() -> None:
    """The heap of deadlines keeps sessions, these the plane, that the heap: closing the plane unties them."""
    broker = DirectBroker()
    client = broker.connect("waits", session_expiry_interval_s=100)
    session = broker.state.sessions.find("waits")
    assert session is not None
    session.owner = Owner()
    owner = weakref.ref(session.owner)
    client.lose()
    broker.state.plane.close()
    del broker, client, session
    gc.collect()
    assert owner() is None


def test_connect_and_close_leave_nothing_behind_in_a_reactor() -> None:
    """Links are freed once their turn is over, by whatever way they went."""
    router = make_router()
    reactor = Reactor(router.plane, lambda link: pytest.fail("nothing may go wrong"))
    for way in ("peer closes", "we close", "we end", "a fault") * 3:
        ours, theirs = socket.socketpair()
        link = SocketLink(router, Recorder(), "peer:1")
        with theirs:
            reactor.add(link, ours.detach())
            theirs.send(CONNECT_PACKET + (b"\xff\xff\xff\xff\xff" if way == "a fault" else b""))
            reactor.turn(1.0)
            if way == "we close":
                link.close()
            elif way == "we end":
                link.end(b"\xe0\x00")
        reactor.turn(2.0)
        reactor.turn(3.0)
        assert reactor.link_count == 0
        assert link.fileno == -1
    reactor.close()
