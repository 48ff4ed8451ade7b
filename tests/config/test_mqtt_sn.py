"""The tables [[mqtt_sn]]: what is refused and how it is said, what is warned of, and the examples of the manual."""

import re
from pathlib import Path
from typing import Any

import pytest
from config.reading import errors, loaded, warnings, written
from noctule.config.differences import differences
from noctule.config.mqtt_sn import AddressChange, MqttSnMode, MqttSnSettings
from noctule.config.toml_text import effective_text

MANUAL = Path(__file__).parents[2] / "docs" / "mqtt-sn.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", MANUAL.read_text(), re.DOTALL | re.MULTILINE)

BAD: dict[str, tuple[str, str]] = {
    "misspelt key": ("gatway_id = 1", '2: error: mqtt_sn[0].gatway_id: unknown key; did you mean "gateway_id"?'),
    "gateway id": ("gateway_id = 0", "2: error: mqtt_sn[0].gateway_id: expected a whole number from 1 to 255; got 0"),
    "mode": (
        'mode = "both"',
        '2: error: mqtt_sn[0].mode: expected one of "transparent", "aggregating"; got "both"',
    ),
    "user name": ('user_name = ""', '1: error: mqtt_sn[0]: "user_name" is empty; leave it out for anonymous devices'),
    "any user at all": (
        'user_name = "%c"',
        '1: error: mqtt_sn[0]: "user_name" is "%c" alone: a device could call itself as any user is called; name the '
        'devices in "client_ids", or put something before or behind it ("sensor-%c")',
    ),
    "password alone": ('password = "x"', '1: error: mqtt_sn[0]: "password" needs "user_name"'),
    "topic id 0": (
        'predefined_topics = { "0" = "a" }',
        '1: error: mqtt_sn[0]: "predefined_topics": a topic id is 1 to 65534, in quotes; got "0"',
    ),
    "topic id too large": (
        'predefined_topics = { "65535" = "a" }',
        '1: error: mqtt_sn[0]: "predefined_topics": a topic id is 1 to 65534, in quotes; got "65535"',
    ),
    "topic id far too large": (
        'predefined_topics = { "1000000" = "a" }',
        '1: error: mqtt_sn[0]: "predefined_topics": a topic id is 1 to 65534, in quotes; got "1000000"',
    ),
    "topic id in words": (
        'predefined_topics = { one = "a" }',
        '1: error: mqtt_sn[0]: "predefined_topics": a topic id is 1 to 65534, in quotes; got "one"',
    ),
    "topic id twice": (
        'predefined_topics = { "1" = "a", "01" = "b" }',
        '1: error: mqtt_sn[0]: "predefined_topics" has a topic id twice',
    ),
    "wildcard": (
        'predefined_topics = { "1" = "a/#" }',
        '1: error: mqtt_sn[0]: "predefined_topics": "a/#" is not a topic name: it is empty or has a wildcard',
    ),
    "open topic that nobody could name": (
        'qos_minus_one_topics = ["a/b"]',
        '1: error: mqtt_sn[0]: "qos_minus_one_topics": "a/b" is neither a short name (two bytes) nor in '
        '"predefined_topics"',
    ),
    "open filter": (
        'qos_minus_one_topics = ["a#"]',
        '1: error: mqtt_sn[0]: "qos_minus_one_topics": "a#" is not a topic name: it is empty or has a wildcard',
    ),
    "no address": ('address = ""', '1: error: mqtt_sn[0]: "address" names nothing to listen on'),
    "largest message": (
        'max_message_size = "64KiB"',
        '2: error: mqtt_sn[0].max_message_size: expected a size such as "2MB" or "64KiB" from 64B to 65507B; '
        'got "64KiB"',
    ),
    "nobody could connect": (
        "allow_anonymous = false",
        "1: error: mqtt_sn[0]: no device could connect: devices are anonymous here, and not let in; give them a "
        '"user_name", or set allow_anonymous to true',
    ),
    "nobody could connect from elsewhere": (
        'address = "*"',
        "1: error: mqtt_sn[0]: no device could connect: devices are anonymous here, and not let in; give them a "
        '"user_name", or set allow_anonymous to true',
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad(tmp_path: Path, name: str) -> None:
    text, expected = BAD[name]
    assert errors(written(tmp_path, f"[[mqtt_sn]]\n{text}\n")) == [f"noctule.toml:{expected}"]


def test_two_gateways_that_clash(tmp_path: Path) -> None:
    text = "[[mqtt_sn]]\nport = 1\n[[mqtt_sn]]\nport = 1\n"
    found = errors(written(tmp_path, text))
    assert len(found) == 2
    assert "the client identifier mqtt-sn-1 is taken by the gateway of" in found[0]
    assert "the address 127.0.0.1:1 is taken by the gateway of" in found[1]
    assert errors(written(tmp_path, "[[mqtt_sn]]\nport = 1\n[[mqtt_sn]]\nport = 2\ngateway_id = 2\n")) == []


def test_the_defaults_are_closed() -> None:
    gateway = MqttSnSettings()
    assert gateway.address == "127.0.0.1"
    assert gateway.user_name is None
    assert gateway.qos_minus_one_topics == ()
    assert gateway.verify_addresses
    assert gateway.address_change is AddressChange.REFUSED
    assert gateway.mode is MqttSnMode.TRANSPARENT


@pytest.mark.parametrize(
    ("user_name", "expected"), [(None, None), ("plant", "plant"), ("sensor-%c", "sensor-7"), ("%c@sn", "7@sn")]
)
def test_the_user_name_of_a_device(user_name: str | None, expected: str | None) -> None:
    assert MqttSnSettings(user_name=user_name).user_name_of("7") == expected


def test_a_password_is_not_shown(tmp_path: Path) -> None:
    path = written(tmp_path, '[[mqtt_sn]]\nuser_name = "plant"\npassword = "hidden"\n')
    result = loaded(path)
    assert "hidden" not in repr(result.settings)
    assert "hidden" not in effective_text(result.settings, result.positions)


def test_a_gateway_that_others_can_reach_is_warned_of(tmp_path: Path) -> None:
    text = '[[mqtt_sn]]\nuser_name = "plant"\n'
    assert warnings(written(tmp_path, text)) == []
    (warning,) = warnings(written(tmp_path, text + 'address = "*"\n'))
    assert "MQTT-SN has neither passwords nor encryption" in warning


def test_what_a_reload_reports(tmp_path: Path) -> None:
    before = loaded(written(tmp_path, "")).settings
    after = loaded(written(tmp_path, "[[mqtt_sn]]\n")).settings
    assert [str(change) for change in differences(before, after)] == ["mqtt_sn: 0 tables → 1 table (needs a restart)"]


def test_what_is_in_effect_is_a_configuration(tmp_path: Path) -> None:
    text = '[[mqtt_sn]]\nport = 10000\npredefined_topics = { "7" = "a/b" }\n[[mqtt_sn]]\ngateway_id = 2\n'
    first = loaded(written(tmp_path, text))
    again = loaded(written(tmp_path, effective_text(first.settings, first.positions), "effective.toml"))
    assert again.settings == first.settings


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_of_the_manual(tmp_path: Path, number: int) -> None:
    written(tmp_path, "secret\n", "plant.password")
    settings: Any = loaded(written(tmp_path, EXAMPLES[number])).settings
    assert settings.mqtt_sn


def test_the_manual_has_examples() -> None:
    assert len(EXAMPLES) >= 4
