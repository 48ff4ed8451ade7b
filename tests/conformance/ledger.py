"""The book of statements: which there are, which tests prove them, and what became of those tests."""

import tomllib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

FILES: Final = {5: "mqtt5.toml", 4: "mqtt311.toml"}
TITLES: Final = {5: "MQTT 5.0", 4: "MQTT 3.1.1"}


@dataclass
class Statement:
    """One statement of a specification."""

    version: int
    id: str
    text: str

    #: Why no test can show it; empty where a test must.
    not_testable: str = ""

    #: The tests that prove it.
    tests: list[str] = field(default_factory=list)

    @property
    def is_numbered(self) -> bool:
        """Whether it has its id from the specification; the others are rules that it left unnumbered."""
        return self.id.startswith("MQTT-")


def read_statements() -> dict[tuple[int, str], Statement]:
    """Every statement of ``statements/``, in the order of the specifications."""
    found: dict[tuple[int, str], Statement] = {}
    for version, name in FILES.items():
        text = (Path(__file__).parent / "statements" / name).read_text(encoding="utf-8")
        for entry in tomllib.loads(text)["statement"]:
            one = Statement(version, **entry)
            if (version, one.id) in found:
                raise ValueError(f"{name} has {one.id} twice")
            found[version, one.id] = one
    return found


class Ledger:
    """Statements, the tests that claim them, and the tests' outcomes."""

    def __init__(self, statements: dict[tuple[int, str], Statement]) -> None:
        self.statements = statements
        self.outcomes: dict[str, str] = {}
        #: Ids that tests name and no list has.
        self.unknown: set[str] = set()
        #: Whether every test of the folder was asked for, so that what is missing is missing.
        self.is_whole = False

    def claim(self, test: str, version: int, ids: Iterable[str]) -> None:
        """A test says that it proves these statements."""
        for one in ids:
            statement = self.statements.get((version, one))
            if statement is None:
                self.unknown.add(f"{one} (version={version})")
            elif test not in statement.tests:
                statement.tests.append(test)

    def note(self, test: str, outcome: str) -> None:
        """How a test ended; a failure stays one."""
        if self.outcomes.get(test) != "failed":
            self.outcomes[test] = outcome

    def missing(self) -> list[Statement]:
        """What is neither covered by a test nor said to be untestable."""
        return [one for one in self.statements.values() if not one.tests and not one.not_testable]

    def failed(self, statement: Statement) -> list[str]:
        return [test for test in statement.tests if self.outcomes.get(test) == "failed"]

    def summary(self) -> list[str]:
        """A line for each specification, and one for each statement that is missing."""
        lines: list[str] = []
        for version, title in TITLES.items():
            own = [one for one in self.statements.values() if one.version == version]
            numbered = sum(one.is_numbered for one in own)
            covered = [one for one in own if one.tests]
            failed = sum(bool(self.failed(one)) for one in covered)
            untestable = sum(not one.tests and bool(one.not_testable) for one in own)
            missing = len(own) - len(covered) - untestable
            lines.append(
                f"{title}: {numbered} numbered statements and {len(own) - numbered} more rules: {len(covered)} covered"
                f" ({failed} of them failed), {untestable} not testable from outside, {missing} missing"
            )
        return lines + [f"missing: {TITLES[one.version]} {one.id}: {one.text}" for one in self.missing()]

    def report(self) -> str:
        """Everything, as Markdown."""
        lines = ["# Conformance", "", *(f"- {line}" for line in self.summary())]
        for version, title in TITLES.items():
            lines += ["", f"## {title}", "", "| statement | rule | state | tests |", "|---|---|---|---|"]
            for one in self.statements.values():
                if one.version == version:
                    lines.append(self._line(one))
        return "\n".join(lines) + "\n"

    def _line(self, one: Statement) -> str:
        names = Counter(test.rpartition("/")[2].partition("[")[0] for test in one.tests)
        shown = ", ".join(f"`{name}`" + (f" ({count})" if count > 1 else "") for name, count in names.items())
        if one.tests:
            failed = len(self.failed(one))
            passed = sum(self.outcomes.get(test) == "passed" for test in one.tests)
            state = f"**failed** ({failed} of {len(one.tests)})" if failed else f"covered ({passed} passed)"
        elif one.not_testable:
            state = f"not testable: {one.not_testable}"
        else:
            state = "**missing**"
        return f"| {one.id} | {one.text} | {state} | {shown} |"
