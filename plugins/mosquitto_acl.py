"""Mosquitto's ACL file, as rules: the grammar of ``acl_file``, for the plugin ``access_file``."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Final

from noctule.api import Action, Place, Problem, Rule, check_rule, did_you_mean

_READ: Final = frozenset({Action.RECEIVE, Action.SUBSCRIBE})
_WRITE: Final = frozenset({Action.PUBLISH})

#: The words of access in a line ``topic`` or ``pattern``; None: denied.
_ACCESS_WORDS: Final[Mapping[str, frozenset[Action] | None]] = MappingProxyType(
    {"read": _READ, "write": _WRITE, "readwrite": _READ | _WRITE, "deny": None}
)

#: What C's ``isspace`` takes for space.
_SPACES: Final = " \t\n\v\f\r"

#: All that Mosquitto lets clients publish below ``$SYS``: what bridges say of themselves.
_SYS_WRITABLE: Final = ("$SYS", "broker", "connection", "+", "state")

_LONGEST_SHOWN: Final = 60


class MosquittoFile:
    """Reads an ACL file line by line, and notes everything that is wrong with it.

    The rules of ``topic`` lines are of ``users_tier``, those of ``pattern`` lines of ``patterns_tier``.
    """

    def __init__(self, path: Path, *, users_tier: int, patterns_tier: int) -> None:
        self._path = path
        self._users_tier = users_tier
        self._patterns_tier = patterns_tier
        self._user: str | None = None
        self._place = Place(str(path))
        self.problems: list[Problem] = []
        self.warnings: list[Problem] = []

        #: By user name; None: clients that have none.
        self.users: dict[str | None, list[Rule]] = {}

        self.patterns: list[Rule] = []

    @property
    def has_rules(self) -> bool:
        """Whether there is a line with a rule."""
        return bool(self.patterns or self.users)

    def read(self, content: bytes) -> None:
        """Take all that the file has, its rules into ``users`` and ``patterns``."""
        for number, line in enumerate(content.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1):
            self._place = Place(str(self._path), number)
            try:
                text = line.decode().rstrip(_SPACES)
            except UnicodeDecodeError as error:
                self._problem("", f"byte 0x{line[error.start]:02X} is not UTF-8 text")
                continue
            if "\0" in text:
                self._problem("", "the null character is not text")
            elif text and not text.startswith("#"):
                self._line(text)

    def _problem(self, about: str, text: str) -> None:
        self.problems.append(Problem(self._place, about, text))

    def _line(self, line: str) -> None:
        word, _, rest = line.lstrip(" ").partition(" ")
        rest = rest.lstrip(" ")
        if word in ("topic", "pattern"):
            self._rule(word, rest)
        elif word == "user":
            name = rest.strip(_SPACES)
            if name:
                self._user = name
            else:
                self._problem("user", "the name is missing: expected user NAME")
        elif word.startswith("#"):
            self._problem("", "a comment begins at the start of the line: expected no blanks before #")
        elif "\t" in word:
            self._problem("", f'expected blanks, not a tab, behind "{_short(word.partition(chr(9))[0])}"')
        else:
            hint = did_you_mean(word, ("topic", "pattern", "user"))
            self._problem("", f'unknown line "{_short(line)}": expected topic, pattern, user, or # and a comment{hint}')

    def _rule(self, word: str, rest: str) -> None:
        """``topic [ACCESS] TOPIC`` or ``pattern [ACCESS] TOPIC``."""
        access, _, topic = rest.partition(" ")
        topic = topic.lstrip(" ")
        if not topic:
            topic, access = access, "readwrite"
            if topic in _ACCESS_WORDS:
                text = f'allows the topic "{topic}" itself: expected {word} {topic} TOPIC'
                self.warnings.append(Problem(self._place, word, text))
        if not topic:
            self._problem(word, f"the topic is missing: expected {word} [read|write|readwrite|deny] TOPIC")
            return
        if access not in _ACCESS_WORDS:
            hint = did_you_mean(access, _ACCESS_WORDS)
            text = f'"{_short(access)}" is no access: expected read, write, readwrite or deny before the topic{hint}'
            self._problem(word, text)
            return
        if access == "readwrite" and "\t" in topic.partition("/")[0]:
            self._problem(word, "expected blanks, not a tab, before the topic")
            return
        actions = _ACCESS_WORDS[access]
        source = f"{self._path.name}:{self._place.line}"
        rule = Rule(topic, actions or frozenset(Action), actions is not None, source=source, tier=self._patterns_tier)
        try:
            check_rule(replace(rule, source=""))
        except ValueError as error:
            self._problem(word, str(error))
            return
        if word == "pattern":
            self._pattern(rule)
            return
        if "%c" in topic or "%u" in topic:
            text = f"%c and %u stand for themselves here: expected pattern {topic} to have them filled in"
            self.warnings.append(Problem(self._place, word, _short(text, 200)))
        own = self.users.setdefault(self._user, [])
        own.extend(_without_reserved(replace(rule, tier=self._users_tier, has_placeholders=False)))

    def _pattern(self, rule: Rule) -> None:
        first = rule.topic_filter.partition("/")[0]
        if first.startswith("$") and ("%c" in first or "%u" in first):
            self._problem("pattern", f'"{_short(first)}": what begins with $ cannot depend on who the client is')
            return
        self.patterns.extend(_without_reserved(rule))


def _without_reserved(rule: Rule) -> Iterator[Rule]:
    """The rule without what Mosquitto does not allow, whatever a file says: to publish to ``$SYS``, where the broker
    speaks, and to publish or receive by the prefix of shared subscriptions."""
    levels = rule.topic_filter.split("/")
    if not rule.allows or not levels[0].startswith(("$SYS", "$share")):
        yield rule
        return
    rest = rule.actions - ({Action.PUBLISH} if levels[0].startswith("$SYS") else {Action.PUBLISH, Action.RECEIVE})
    if rest:
        yield replace(rule, actions=rest)
    if Action.PUBLISH in rule.actions:
        writable = _writable_part(levels)
        if writable is not None:
            yield replace(rule, topic_filter=writable, actions=_WRITE)


def _writable_part(levels: list[str]) -> str | None:
    """The filter of the topics that match both the levels and what is writable below ``$SYS``; None: there are none."""
    both: list[str] = []
    for index, writable in enumerate(_SYS_WRITABLE):
        level = levels[index] if index < len(levels) else None
        if level == "#":
            return "/".join([*both, *_SYS_WRITABLE[index:]])
        if writable == "+" and level is not None:
            both.append(level)
        elif level in ("+", writable):
            both.append(writable)
        else:
            return None
    return "/".join(both) if levels[len(_SYS_WRITABLE) :] in ([], ["#"]) else None


def _short(text: str, longest: int = _LONGEST_SHOWN) -> str:
    return text if len(text) <= longest else text[: longest - 3] + "..."
