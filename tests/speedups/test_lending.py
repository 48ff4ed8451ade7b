"""A run that many are to get is copied once for all: whatever else is written, or not read, each gets its own."""

import itertools

import pytest
from handlers.kept_links import KINDS
from noctule._speedups.codec import encode_publish
from noctule._speedups.journal import Journal
from speedups.recording import PINGREQ_PACKET, Peer, make_router

#: More than LENT_TARGETS_MIN of router.pyx.
READERS = 6


def run_of(topic: bytes, *payloads: bytes, version: int = 4) -> bytes:
    return b"".join(encode_publish(topic, payload, version) for payload in payloads)


@pytest.mark.parametrize("version", [4, 5])
def test_each_gets_the_run_in_its_layout(version: int) -> None:
    router = make_router()
    readers = [Peer(router, str(n), 4 + n % 2).connect().subscribe(b"t") for n in range(READERS)]
    Peer(router, "p", version).connect().send(run_of(b"t", b"1", b"22", b"", version=version))
    assert [reader.payloads() for reader in readers] == [[b"1", b"22", b""]] * READERS
    counts = router.plane.counts
    assert counts["packets_sent"][3] == 3 * READERS
    assert counts["publish_bytes_sent"] == 3 * READERS


def test_what_is_written_after_it_comes_after_it() -> None:
    """Runs of two topics, a message at QoS 1, and answers of the readers' own, in one turn."""
    router = make_router()
    readers = [Peer(router, str(n), 4).connect().subscribe(b"a", 1) for n in range(READERS)]
    for reader in readers[::2]:
        reader.subscribe(b"b")
    publisher = Peer(router, "p", 4).connect()
    publisher.send(
        run_of(b"a", b"1", b"2"),
        run_of(b"b", b"3"),
        encode_publish(b"a", b"4", 4, 1, False, False, 9),
        run_of(b"a", b"5"),
    )
    readers[0].send(PINGREQ_PACKET)
    publisher.send(run_of(b"b", b"6"))
    for number, reader in enumerate(readers):
        packets = reader.take()
        payloads = [body[-1:] for first, body in packets if first >> 4 == 3]
        assert payloads == [b"1", b"2", *([] if number % 2 else [b"3"]), b"4", b"5", *([] if number % 2 else [b"6"])]
        assert [first for first, _ in packets if first >> 4 != 3] == ([0xD0] if number == 0 else [])


def test_who_does_not_read_gets_it_later_and_keeps_no_other_waiting() -> None:
    router = make_router()
    readers = [Peer(router, str(n), 4).connect().subscribe(b"t") for n in range(READERS)]
    publisher = Peer(router, "p", 4).connect()
    expected: list[bytes] = []
    for number in range(5):
        expected.append(b"%d" % number)
        publisher.send(run_of(b"t", expected[-1]))
        assert all(reader.payloads() == expected[-1:] for reader in readers[1:])
        assert readers[0].link.pending_bytes == sum(len(run_of(b"t", payload)) for payload in expected)
    assert readers[0].payloads() == expected
    publisher.send(run_of(b"t", b"again"))
    assert [reader.payloads() for reader in readers] == [[b"again"]] * READERS


def test_it_counts_as_waiting_to_be_sent() -> None:
    router = make_router(write_max_bytes=100)
    readers = [Peer(router, str(n), 4).connect().subscribe(b"t") for n in range(READERS)]
    publisher = Peer(router, "p", 4).connect()
    for _ in range(5):
        publisher.send(run_of(b"t", b"x" * 40))
        for reader in readers[1:]:
            reader.take()
    assert readers[0].payloads() == [b"x" * 40] * 2
    assert router.plane.counts["dropped_slow_reader"] == 3


@pytest.mark.parametrize("end", ["close", "end", "lose"])
def test_a_connection_that_ends_with_it_ends_alone(end: str) -> None:
    router = make_router()
    readers = [Peer(router, str(n), 4).connect().subscribe(b"t") for n in range(READERS)]
    publisher = Peer(router, "p", 4).connect()
    publisher.send(run_of(b"t", b"1", b"2"))
    link = readers[0].link
    if end == "lose":
        link.lose("broke")
    else:
        getattr(link, end)()
    publisher.send(run_of(b"t", b"3"))
    router.plane.flush()
    assert [reader.payloads() for reader in readers[1:]] == [[b"1", b"2", b"3"]] * (READERS - 1)
    assert link.take_output() == (run_of(b"t", b"1", b"2") if end == "end" else b"")


def test_what_waits_for_the_journal_has_its_place_before_or_behind_it() -> None:
    router = make_router()
    journal = router.plane.journal = Journal(KINDS, lambda: None)
    readers = [Peer(router, str(n), 4).connect().subscribe(b"t") for n in range(READERS)]
    waiting = readers[0]
    waiting.link.durability = 2
    publisher = Peer(router, "p", 4).connect()
    publisher.send(run_of(b"t", b"1"))
    waiting.link.wait_for_journal()
    publisher.send(run_of(b"t", b"2"))
    assert [reader.payloads() for reader in readers] == [[b"1"]] + [[b"1", b"2"]] * (READERS - 1)
    publisher.send(run_of(b"t", b"3"))
    assert [reader.payloads() for reader in readers] == [[]] + [[b"3"]] * (READERS - 1)
    journal.commit_done(journal.ticket)
    router.plane.let_go()
    assert waiting.payloads() == [b"2", b"3"]


def test_links_forget_it_when_it_is_sent() -> None:
    """However often: each is empty again, and what is taken is what was published."""
    router = make_router()
    readers = [Peer(router, str(n), 4).connect().subscribe(b"#") for n in range(READERS)]
    publisher = Peer(router, "p", 4).connect()
    for number, size in itertools.product(range(20), (1, 100, 3_000, 15_000)):
        payload = b"%d:" % number + b"x" * size
        publisher.send(run_of(b"t/%d" % number, payload))
        assert [reader.payloads() for reader in readers] == [[payload]] * READERS
        assert [reader.link.pending_bytes for reader in readers] == [0] * READERS
