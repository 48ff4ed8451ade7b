"""The lists of statements are complete, and the framework that judges them does so."""

import re
from pathlib import Path

import pytest
from conformance.ledger import Ledger, Statement, read_statements


@pytest.mark.parametrize(("version", "count"), [(5, 251), (4, 141)])
def test_every_numbered_statement_is_listed(version: int, count: int) -> None:
    numbered = [one for one in read_statements().values() if one.version == version and one.is_numbered]
    assert len(numbered) == count


def test_what_is_not_testable_says_why() -> None:
    for one in read_statements().values():
        assert one.text.endswith("."), one.id
        assert not one.not_testable.endswith("."), one.id


def make_ledger() -> Ledger:
    return Ledger(
        {
            (5, "MQTT-1"): Statement(5, "MQTT-1", "The first."),
            (5, "MQTT-2"): Statement(5, "MQTT-2", "The second.", "a duty of the client's"),
            (5, "5-own"): Statement(5, "5-own", "A rule without a number."),
        }
    )


def test_a_statement_without_a_test_is_missing() -> None:
    ledger = make_ledger()
    ledger.claim("t.py::test_a", 5, ["MQTT-1"])
    ledger.note("t.py::test_a", "passed")
    assert [one.id for one in ledger.missing()] == ["5-own"]
    assert ledger.summary()[0] == (
        "MQTT 5.0: 2 numbered statements and 1 more rules: 1 covered (0 of them failed),"
        " 1 not testable from outside, 1 missing"
    )
    report = ledger.report()
    assert "| MQTT-1 | The first. | covered (1 passed) | `t.py::test_a` |" in report
    assert "| MQTT-2 | The second. | not testable: a duty of the client's |  |" in report
    assert "| 5-own | A rule without a number. | **missing** |  |" in report


def test_a_test_that_failed_shows_at_its_statement() -> None:
    ledger = make_ledger()
    ledger.claim("t.py::test_a", 5, ["MQTT-1", "5-own"])
    ledger.note("t.py::test_a", "failed")
    ledger.note("t.py::test_a", "passed")  # its teardown
    assert "| 5-own | A rule without a number. | **failed** (1 of 1) |" in ledger.report()


def test_a_statement_that_is_not_listed_is_found_out() -> None:
    ledger = make_ledger()
    ledger.claim("t.py::test_a", 5, ["MQTT-9"])
    ledger.claim("t.py::test_a", 4, ["MQTT-1"])
    assert ledger.unknown == {"MQTT-9 (version=5)", "MQTT-1 (version=4)"}


def test_every_test_that_the_documentation_names_exists() -> None:
    here = Path(__file__).parent
    named = set(
        re.findall(r"`(test_\w+)`", (here.parent.parent / "docs" / "conformance.md").read_text(encoding="utf-8"))
    )
    existing: set[str] = set()
    for path in here.glob("test_*.py"):
        existing.update(re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))
    assert named
    assert named <= existing
