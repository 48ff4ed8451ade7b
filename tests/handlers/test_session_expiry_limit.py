"""limits.max_session_expiry: how long a session waits for its client at the most."""

from dataclasses import replace

import pytest
import trio
from handlers.direct_links import V3_1_1, V5, DirectBroker
from handlers.kept_links import KeptBroker
from hooks.plugin_brokers import broker_with
from net.stream_clients import run_mocked
from noctule.config.bridges import BridgeSettings, BridgeTopic, Direction
from noctule.config.settings import Limits, Settings
from noctule.core.sessions import NEVER
from noctule.core.state import limit_sessions

LIMIT_S = 100


def limited() -> DirectBroker:
    return DirectBroker(session_expiry_max_s=LIMIT_S)


def test_below_version_5_it_is_the_time_of_every_session_that_is_kept() -> None:
    broker = limited()
    broker.connect("c", V3_1_1, clean_start=False).lose()
    broker.advance(LIMIT_S - 1)
    assert broker.state.sessions.find("c") is not None
    broker.advance(1)
    assert broker.state.sessions.find("c") is None


@pytest.mark.parametrize(("asked_s", "told_s"), [(0, None), (LIMIT_S, None), (LIMIT_S + 1, LIMIT_S), (NEVER, LIMIT_S)])
def test_version_5_is_told(asked_s: int, told_s: int | None) -> None:
    """3.2.2.3.2"""
    connack = limited().connect("c", session_expiry_interval_s=asked_s).connack
    assert connack is not None
    assert connack.session_expiry_interval_s == told_s


def test_who_comes_in_time_has_the_session_again() -> None:
    broker = limited()
    for _ in range(3):
        client = broker.connect("c", clean_start=False, session_expiry_interval_s=NEVER)
        broker.advance(3 * LIMIT_S)
        assert not client.is_closed, "the time runs while the client is away alone"
        client.lose()
        broker.advance(LIMIT_S - 1)
    assert broker.state.sessions.find("c") is not None


def test_disconnect_cannot_ask_for_more() -> None:
    broker = limited()
    broker.connect("c", session_expiry_interval_s=10).disconnect(session_expiry_interval_s=NEVER)
    broker.advance(LIMIT_S)
    assert broker.state.sessions.find("c") is None


def test_without_a_limit_sessions_stay() -> None:
    broker = DirectBroker()
    client = broker.connect("c", V3_1_1, clean_start=False)
    client.lose()
    broker.advance(1e9)
    assert broker.state.sessions.find("c") is not None


def test_a_reload_counts_for_who_is_away_and_who_goes() -> None:
    broker = DirectBroker()
    for client_id, interval_s in (("away", NEVER), ("soon", 50)):
        broker.connect(client_id, session_expiry_interval_s=interval_s).lose()
    there = broker.connect("there", session_expiry_interval_s=NEVER)
    sessions = broker.state.sessions
    limit_sessions(sessions, replace(broker.state.settings, limits=Limits(session_expiry_max_s=LIMIT_S)))
    broker.advance(50)
    assert {one.client_id for one in sessions} == {"away", "there"}
    broker.advance(LIMIT_S)
    assert {one.client_id for one in sessions} == {"there"}
    there.lose()
    broker.advance(LIMIT_S)
    assert len(sessions) == 0


def test_sessions_of_bridges_stay() -> None:
    """What waits for the other broker waits for as long as that is away."""
    bridge = BridgeSettings(
        "other", ("other.example:1883",), (BridgeTopic("#", Direction.OUT),), local_client_id="of-bridge"
    )
    broker = DirectBroker(Settings(bridges=(bridge,)), session_expiry_max_s=LIMIT_S)
    broker.connect("of-bridge", V3_1_1, clean_start=False).lose()
    broker.advance(10 * LIMIT_S)
    assert broker.state.sessions.find("of-bridge") is not None


def test_it_counts_for_sessions_from_before_a_restart() -> None:
    broker = KeptBroker()
    broker.connect("away", V3_1_1, clean_start=False).lose()
    broker.connect("there", V5, clean_start=False, session_expiry_interval_s=NEVER)
    broker.commit_all()
    after = KeptBroker(broker.disk.rows.values(), session_expiry_max_s=LIMIT_S)
    after.commit_all()
    assert len(after.state.sessions) == 2
    again = KeptBroker(after.disk.rows.values(), session_expiry_max_s=LIMIT_S)
    again.advance(2 * LIMIT_S)
    assert len(again.state.sessions) == 0
    later = KeptBroker(after.disk.rows.values())
    later.advance(2 * LIMIT_S)
    assert len(later.state.sessions) == 0, "that the time runs is kept"


def test_a_reload_of_the_broker_puts_it_into_effect() -> None:
    async def main() -> None:
        async with broker_with() as running:
            broker = running.broker
            sessions = broker.state.sessions
            session, _ = sessions.open("away", clean_start=True, expiry_interval_s=NEVER)
            sessions.connection_ended(session, "it is gone", publish_will=False)
            await broker.reload(replace(broker.settings, limits=Limits(session_expiry_max_s=LIMIT_S)))
            await trio.sleep(LIMIT_S - 1)
            assert sessions.find("away") is session
            await trio.sleep(2)
            assert sessions.find("away") is None

    run_mocked(main)
