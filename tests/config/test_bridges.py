"""Bridges in a TOML file: mistakes are told with what to do, and what is not safe is warned of."""

import re
from pathlib import Path

import pytest
from config.reading import errors, loaded, warnings, written
from noctule.bridges.remote import BridgeError, prepare
from noctule.config.bridge_transports import BridgeTlsSettings
from noctule.config.bridges import BridgeSettings, BridgeTopic
from noctule.config.differences import differences
from noctule.config.options import Secret
from noctule.config.toml_text import effective_text

BRIDGE = '[[bridge]]\nname = "b"\naddresses = ["mqtt://h"]\n'
TOPICS = '[[bridge.topics]]\npattern = "#"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[[bridge]]\n", '"name" is missing'),
        (BRIDGE, '"topics" is missing'),
        (BRIDGE + "topics = []\n", "nothing crosses this bridge"),
        (BRIDGE.replace('["mqtt://h"]', "[]") + TOPICS, '"addresses" names no broker'),
        (BRIDGE.replace("mqtt://h", "http://h") + TOPICS, '"addresses": expected one of mqtt://'),
        (BRIDGE.replace("mqtt://h", "mqtt://h:99999") + TOPICS, "expected a port from 1 to 65535"),
        (BRIDGE.replace("mqtt://h", "mqtt://u:p@h") + TOPICS, 'belong to "remote_user_name"'),
        (BRIDGE.replace('"b"', '"a/b"') + TOPICS, '"name": expected a name without /'),
        (BRIDGE + 'protocol_version = "4"\n' + TOPICS, '"3.1", "3.1.1", "5"'),
        (BRIDGE + 'start_type = "manual"\n' + TOPICS, '"automatic", "lazy", "once"'),
        (BRIDGE + 'restart_delay = "1m"\n' + TOPICS, '"restart_delay_maximum" is below'),
        (BRIDGE + 'remote_client_id = ""\n' + TOPICS, '"remote_client_id" is empty'),
        (BRIDGE + 'local_client_id = ""\n' + TOPICS, '"local_client_id" is empty'),
        (BRIDGE + 'local_user_name = ""\n' + TOPICS, '"local_user_name" is empty'),
        (BRIDGE + 'notification_topic = "a/#"\n' + TOPICS, '"notification_topic": expected a topic name'),
        (BRIDGE + 'remote_password = "x"\nprotocol_version = "3.1.1"\n' + TOPICS, 'needs "remote_user_name"'),
        (BRIDGE + TOPICS + "qos = 3\n", "from 0 to 2"),
        (BRIDGE + TOPICS.replace("#", "a#"), "which is no topic filter"),
        (BRIDGE + TOPICS + 'direction = "up"\n', '"out", "in", "both"'),
        (BRIDGE + '[bridge.tls]\ncertificate_file = "x"\n' + TOPICS, '"certificate_file" and "key_file" go together'),
        (BRIDGE + '[bridge.tls]\npsk = "00"\n' + TOPICS, '"psk_identity" and "psk" go together'),
        (BRIDGE + TOPICS + BRIDGE + TOPICS, "the name b is taken by the bridge of"),
        (
            BRIDGE
            + 'local_client_id = "x"\n'
            + TOPICS
            + BRIDGE.replace('"b"', '"c"')
            + 'local_client_id = "x"\n'
            + TOPICS,
            "the client identifier here x is taken by the bridge of",
        ),
        (BRIDGE + "topcs = 1\n" + TOPICS, 'unknown key; did you mean "topics"'),
    ],
)
def test_mistakes(tmp_path: Path, text: str, expected: str) -> None:
    found = errors(written(tmp_path, text))
    assert any(expected in error for error in found), found


def test_pre_shared_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("noctule.config.bridge_transports.HAS_PSK", False)
    with pytest.raises(ValueError, match=r"Python 3\.13"):
        BridgeTlsSettings(psk_identity="i", psk=Secret("00"))
    monkeypatch.setattr("noctule.config.bridge_transports.HAS_PSK", True)
    assert BridgeTlsSettings(psk_identity="i", psk=Secret("00ff")).psk == Secret("00ff")
    with pytest.raises(ValueError, match="hexadecimal"):
        BridgeTlsSettings(psk_identity="i", psk=Secret("0"))
    with pytest.raises(ValueError, match="either certificates or"):
        BridgeTlsSettings(psk_identity="i", psk=Secret("00"), ca_file=Path("x"))


def test_what_is_not_safe(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hidden")
    (tmp_path / "secret").chmod(0o600)
    text = (
        BRIDGE.replace('"mqtt://h"', '"mqtts://h", "h"') + 'remote_user_name = "u"\nremote_password_file = "secret"\n'
    )
    path = written(tmp_path, text + "[bridge.tls]\ncheck_host_name = false\n" + TOPICS)
    first, second = warnings(path)
    assert "the password crosses the network in plain text to h" in first
    assert "can pose as the other broker" in second
    read = loaded(path)
    assert read.settings.bridges[0].remote_password == Secret("hidden")
    assert "hidden" not in effective_text(read.settings, read.positions)


def test_what_is_in_effect_is_a_configuration(tmp_path: Path) -> None:
    text = BRIDGE + 'idle_timeout = "5m"\n[bridge.tcp]\nuser_timeout = "2s"\n' + TOPICS + TOPICS.replace("#", "a")
    first = loaded(written(tmp_path, text))
    again = effective_text(first.settings, first.positions)
    assert re.search(r'idle_timeout = "5m"  # .*noctule\.toml:4', again)
    assert loaded(written(tmp_path, again, "effective.toml")).settings == first.settings


def test_differences(tmp_path: Path) -> None:
    other = BRIDGE.replace('"b"', '"other"') + TOPICS
    one = loaded(written(tmp_path, BRIDGE + TOPICS)).settings
    two = loaded(written(tmp_path, BRIDGE + "clean_session = true\n" + TOPICS + other)).settings
    assert [str(change) for change in differences(one, two)] == [
        "bridge b: clean_session: false → true",
        "bridge other: added",
    ]
    assert [str(change) for change in differences(two, one)][-1] == "bridge b: clean_session: true → false"
    assert str(differences(two, one)[0]) == "bridge other: removed"


@pytest.mark.parametrize(
    ("tls", "expected"),
    [
        (BridgeTlsSettings(ca_file=Path("/nowhere/ca.crt")), "bridge b: No such file or directory"),
        (BridgeTlsSettings(ciphers="nonsense"), "OpenSSL knows no cipher"),
    ],
)
def test_what_only_shows_when_it_is_read(tls: BridgeTlsSettings, expected: str) -> None:
    with pytest.raises(BridgeError, match=expected):
        prepare(BridgeSettings("b", ("mqtts://h",), (BridgeTopic("#"),), tls=tls))


def test_names_that_are_made() -> None:
    bridge = BridgeSettings("b", ("h",), (BridgeTopic("#"),))
    assert re.fullmatch(r"b\.[^/+#]+", bridge.client_id_there)
    assert bridge.client_id_here == f"local.{bridge.client_id_there}"
    assert bridge.state_topic == f"$SYS/broker/connection/{bridge.client_id_there}/state"
    assert bridge.user_name_here == "$bridge:b"
    assert bridge.is_kept_here
