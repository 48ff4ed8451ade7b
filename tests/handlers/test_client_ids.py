"""Which client identifiers there may be, as the settings say."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from handlers.direct_links import V3_1_1, V5, DirectBroker
from noctule.config.bridges import BridgeSettings, BridgeTopic, Direction
from noctule.config.settings import ClientIdSettings, ListenerSettings, Settings
from noctule.core.origin import Origin
from noctule.protocol import Connack, Connect, ProtocolVersion

both_versions = pytest.mark.parametrize("version", [V3_1_1, V5], ids=["3.1.1", "5"])


def broker_with(**client_ids: Any) -> DirectBroker:
    return DirectBroker(Settings(client_ids=ClientIdSettings(**client_ids)))


def answer(broker: DirectBroker, client_id: str, version: ProtocolVersion = V5) -> Connack:
    connack = broker.open(version).connect(Connect(version, client_id))
    assert connack is not None
    return connack


@both_versions
def test_an_empty_one_may_be_refused(version: ProtocolVersion, caplog: pytest.LogCaptureFixture) -> None:
    broker = broker_with(allow_empty=False)
    assert answer(broker, "", version).reason_code == 0x85
    assert answer(broker, "c", version).reason_code == 0
    assert "client_ids.allow_empty" in caplog.text
    assert len(broker.state.sessions) == 1
    assert answer(broker_with(), "", version).reason_code == 0


@both_versions
@pytest.mark.parametrize("is_debugging", [False, True])
def test_only_those_with_a_prefix(
    version: ProtocolVersion, is_debugging: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Without debugging, clients like these are let in by the data plane itself where nothing is to be decided."""
    caplog.set_level(logging.DEBUG if is_debugging else logging.INFO, "noctule")
    broker = broker_with(prefixes=("sensor-", "gate"))
    for client_id in ("sensor-7", "sensor-", "gateway"):
        assert answer(broker, client_id, version).reason_code == 0
    for client_id in ("Sensor-7", "sens", "other", ""):
        assert answer(broker, client_id, version).reason_code == 0x85
    assert "client_ids.prefixes" in caplog.text
    assert len(broker.state.sessions) == 3


def test_a_reload_counts_for_who_comes_then(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "noctule")
    broker = DirectBroker()
    assert answer(broker, "a").reason_code == 0
    ids = ClientIdSettings(prefixes=("sensor-",))
    broker.state.settings = replace(broker.state.settings, client_ids=ids)
    assert answer(broker, "b").reason_code == 0x85


def test_what_the_broker_makes_begins_as_it_is_told() -> None:
    made = answer(broker_with(assigned_prefix="made-"), "").assigned_client_identifier
    assert made is not None
    assert made.startswith("made-")
    assert answer(broker_with(assigned_prefix="made-", prefixes=("made",)), "").reason_code == 0
    assert (answer(broker_with(), "").assigned_client_identifier or "").startswith("auto-")


def test_bridges_of_our_own_need_no_prefix() -> None:
    bridge = BridgeSettings(
        "other", ("other.example:1883",), (BridgeTopic("#", Direction.OUT),), local_client_id="of-bridge"
    )
    ids = ClientIdSettings(prefixes=("sensor-",))
    broker = DirectBroker(Settings(bridges=(bridge,), client_ids=ids))
    assert answer(broker, "of-bridge").reason_code == 0x85, "anybody can say that it is the bridge"
    client = broker.open()
    client.link.origin = Origin(ListenerSettings(path=Path("bridge other")), user_name=bridge.user_name_here)
    connack = client.connect(Connect(V5, "of-bridge"))
    assert connack is not None
    assert connack.reason_code == 0


@pytest.mark.parametrize("wrong", [{"assigned_prefix": "x" * 51}, {"assigned_prefix": "a\n"}, {"prefixes": ("",)}])
def test_what_cannot_be_meant(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|empty text"):
        ClientIdSettings(**wrong)
