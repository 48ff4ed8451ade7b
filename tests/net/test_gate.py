"""The counts at a listener's door: who is counted together, and that nobody is left in them."""

import random

import pytest
import trio
import trio.testing
from net.stream_clients import run_mocked
from noctule.config.settings import ListenerLimits
from noctule.net.gate import Gate, Visit


def entered(gate: Gate, address: str = "192.0.2.1", *, shakes_hands: bool = False) -> Visit:
    visit = gate.enter(address, shakes_hands=shakes_hands)
    assert isinstance(visit, Visit), visit
    return visit


def test_one_address_too_often() -> None:
    gate = Gate(ListenerLimits(max_connections_per_address=2))
    first = entered(gate)
    entered(gate)
    assert gate.enter("192.0.2.1", shakes_hands=False) == (
        "there are 2 connections from 192.0.2.1 already (max_connections_per_address)"
    )
    entered(gate, "192.0.2.2")
    first.leave()
    entered(gate)
    assert gate.refused == 1


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
    ],
)
def test_whose_connections_are_counted_together(one: str, other: str, together: bool) -> None:
    gate = Gate(ListenerLimits(max_connections_per_address=1))
    entered(gate, one)
    assert isinstance(gate.enter(other, shakes_hands=False), str) is together


def test_unix_sockets_have_no_address_to_count() -> None:
    gate = Gate(ListenerLimits(max_connections_per_address=1))
    entered(gate, "")
    entered(gate, "")


def test_a_proxy_tells_the_address_later() -> None:
    gate = Gate(ListenerLimits(max_connections_per_address=1))
    visits = [entered(gate, "") for _ in range(3)]
    assert visits[0].come_from("192.0.2.1")
    assert visits[0].come_from("192.0.2.1")
    assert not visits[1].come_from("192.0.2.1")
    assert visits[1].come_from("192.0.2.2")
    assert visits[0].come_from("192.0.2.3")
    assert visits[2].come_from("192.0.2.1")


def test_handshakes_wait_for_room() -> None:
    async def main() -> None:
        gate = Gate(ListenerLimits(handshakes_max=2, handshakes_per_address_max=2))
        visits = [entered(gate, shakes_hands=True) for _ in range(2)]
        assert gate.rest_s(0) == float("inf")
        went_on = []

        async def wait() -> None:
            await gate.room()
            went_on.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            assert went_on == []
            visits[0].established()
            visits[0].established()
        assert gate.handshakes == 1
        assert gate.rest_s(0) == 0
        await gate.room()  # does not wait for a handshake that has ended before
        visits[1].leave()
        assert (gate.handshakes, gate.connections) == (0, 1)

    run_mocked(main)


@pytest.mark.parametrize(("limits", "share"), [({}, 250), ({"handshakes_max": 3}, 1), ({"handshakes_max": 9}, 2)])
def test_one_address_has_a_share_of_the_handshakes(limits: dict[str, int], share: int) -> None:
    gate = Gate(ListenerLimits(**limits))
    visits = [entered(gate, "192.0.2.1", shakes_hands=True) for _ in range(share)]
    assert gate.enter("192.0.2.1", shakes_hands=True) == (
        f"{share} connections from 192.0.2.1 are within a handshake already (max_handshakes_per_address)"
    )
    entered(gate, "192.0.2.2", shakes_hands=True)
    entered(gate, "192.0.2.1")
    visits[0].established()
    visits[0].established()
    last = entered(gate, "192.0.2.1", shakes_hands=True)
    assert isinstance(gate.enter("192.0.2.1", shakes_hands=True), str)
    last.leave()
    last.leave()
    entered(gate, "192.0.2.1", shakes_hands=True)
    assert isinstance(gate.enter("192.0.2.1", shakes_hands=True), str)
    assert gate.refused == 3


def test_handshakes_through_a_proxy_count_where_it_says() -> None:
    gate = Gate(ListenerLimits(handshakes_per_address_max=1))
    first, second = (entered(gate, "", shakes_hands=True) for _ in range(2))
    assert first.come_from("192.0.2.1")
    assert not second.come_from("192.0.2.1")
    assert "max_handshakes_per_address" in gate.too_many_from("192.0.2.1")
    first.established()
    assert second.come_from("192.0.2.1")


def test_nobody_stays_in_the_counts() -> None:
    """Any order of coming, telling, shaking hands and going."""
    gate = Gate(ListenerLimits(max_connections=40, max_connections_per_address=9, handshakes_per_address_max=4))
    chance = random.Random(1)
    inside: list[Visit] = []
    for _ in range(20_000):
        step = chance.randrange(4)
        if step == 0:
            visit = gate.enter(f"192.0.2.{chance.randrange(9)}", shakes_hands=chance.random() < 0.5)
            if isinstance(visit, Visit):
                inside.append(visit)
        elif inside:
            visit = chance.choice(inside)
            if step == 1:
                visit.come_from(f"192.0.2.{chance.randrange(9)}")
            elif step == 2:
                visit.established()
            else:
                visit.leave()
                inside.remove(visit)
        assert gate.connections == len(inside) <= 40
        assert gate.handshakes == sum(visit.shakes_hands for visit in inside)
    assert gate.refused > 0
    for visit in inside:
        visit.leave()
    assert (gate.connections, gate.handshakes, gate._by_address, gate._shaking_by_address) == (0, 0, {}, {})
