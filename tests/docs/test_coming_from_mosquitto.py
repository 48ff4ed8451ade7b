"""What docs/coming-from-mosquitto.md says is not there is not there, and the defaults that it names are ours."""

import re

from docs.pages import text_of
from noctule.config import limits, quantities
from noctule.config.mosquitto_directives import DIRECTIVES, OTHER_DEFAULTS, Ignored, Refused

PAGE = text_of("docs/coming-from-mosquitto.md")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_what_is_not_there_is_refused_or_warned_about() -> None:
    """If one of these is read now, the page has to say so."""
    named = {name for name in re.findall(r"`([a-z_]+)`", section("What is not there")) if name in DIRECTIVES}
    assert len(named) >= 5
    for name in named:
        assert isinstance(DIRECTIVES[name], Refused | Ignored), f"{name} is there: take it out of the section"


def test_what_the_table_says_is_missing_is_mentioned() -> None:
    table = text_of("docs/configuration.md").partition("## mosquitto.conf, directive by directive")[2]
    missing = re.findall(r"^\| `(\w+)` \| .*not available in this version yet", table, re.MULTILINE)
    assert bool(missing) == ("*not available in this version" in section("What is not there")), missing


def test_the_defaults_that_differ() -> None:
    text = " ".join(section("What differs").split())
    theirs = {name: value for name, value, _ in OTHER_DEFAULTS}
    assert f"{limits.INFLIGHT_MAX:,} messages in flight to a client ({theirs['max_inflight_messages']})" in text
    assert f"{limits.QUEUE_MAX_MESSAGES:,} waiting ({int(theirs['max_queued_messages']):,})" in text
    assert f"{limits.ALIAS_MAX_IN} topic aliases ({theirs['max_topic_alias']})" in text
    assert quantities.format_size(limits.CONNECT_MAX_BYTES) == "64KiB"
    assert "CONNECT no larger than 64 KiB and within ten seconds" in text
    assert limits.CONNECT_TIMEOUT_S == 10


def test_the_limits_in_the_comparison() -> None:
    better = section("Better")
    assert f"after {limits.LOGIN_FAILURES_PER_ADDRESS} failures in a minute from an address" in better
    assert f"{limits.LOGIN_FAILURES_PER_USER} for a user" in better
    assert f"{limits.QUEUE_MAX_MESSAGES:,} messages and 16 MiB for each client" in better
    assert limits.QUEUE_MAX_BYTES == 16 << 20
