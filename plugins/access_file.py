"""The plugin ``access_file``: who may do what at which topics, from the configuration, a TOML file, or Mosquitto's ACL
file."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Final

import trio
from noctule.api import (
    Access,
    AccessRules,
    Action,
    Broker,
    Client,
    ConfigError,
    KeyPath,
    Option,
    Place,
    PluginError,
    Positions,
    Problem,
    Rule,
    check_rule,
    did_you_mean,
    hookimpl,
    read_table_file,
)
from noctule.plugins.mosquitto_acl import MosquittoFile

_logger: Final = logging.getLogger("noctule.access_file")

#: A file of rules is written by people, or by their programs; what is larger is some other file.
_FILE_MAX_BYTES: Final = 16_777_216

#: Whose rules come first: where one of a user's own matches, those of its groups are not looked at, and so on.
_OWN, _OF_GROUPS, _OF_EVERYBODY = 0, 1, 2

# --- the options ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RuleTable:
    """One rule: what is allowed, or denied, at the topics of a filter."""

    topic: Annotated[str, Option("A topic filter; %c and %u in it are the client identifier and the user name.")]
    allow: Annotated[tuple[Action, ...], Option("What is allowed there: publish, receive, subscribe.")] = ()
    deny: Annotated[tuple[Action, ...], Option("What is denied there, whatever else allows it.")] = ()
    max_qos: Annotated[
        int, Option("The highest QoS of what is allowed, to publish or to subscribe with.", minimum=0, maximum=2)
    ] = 2
    retain: Annotated[bool, Option("Whether what may be published may be retained.")] = True

    def __post_init__(self) -> None:
        if not self.allow and not self.deny:
            raise ValueError('expected "allow" or "deny" with some of "publish", "receive", "subscribe"')
        both = [action.value for action in Action if action in self.allow and action in self.deny]
        if both:
            raise ValueError(f'"{both[0]}" is both allowed and denied: one of the two')
        if not self.allow and (self.max_qos, self.retain) != (2, True):
            raise ValueError('"max_qos" and "retain" are about what is allowed, and nothing is')
        check_rule(Rule(self.topic))


@dataclass(frozen=True, slots=True)
class RoleTable:
    """Rules that can be given to several."""

    rules: Annotated[tuple[RuleTable, ...], Option("The rules.")] = ()


@dataclass(frozen=True, slots=True)
class HolderTable:
    """What a user, everybody, or whoever has no name, may do."""

    rules: Annotated[tuple[RuleTable, ...], Option("Rules of its own.")] = ()
    roles: Annotated[tuple[str, ...], Option("Names of roles whose rules it has as well.")] = ()


@dataclass(frozen=True, slots=True)
class GroupTable:
    """What the members of a group may do."""

    members: Annotated[tuple[str, ...], Option("User names.")]
    rules: Annotated[tuple[RuleTable, ...], Option("Rules for each member.")] = ()
    roles: Annotated[tuple[str, ...], Option("Names of roles whose rules each member has as well.")] = ()


@dataclass(frozen=True, slots=True)
class AccessTables:
    """All that a TOML file of rules can say."""

    users: Annotated[Mapping[str, HolderTable], Option("By user name: rules for this user.")] = field(
        default_factory=dict
    )
    groups: Annotated[Mapping[str, GroupTable], Option("By name: rules for users together.")] = field(
        default_factory=dict
    )
    roles: Annotated[Mapping[str, RoleTable], Option("By name: rules to be given to users and groups.")] = field(
        default_factory=dict
    )
    anonymous: Annotated[HolderTable, Option("Rules for clients without a user name.")] = HolderTable()
    everybody: Annotated[HolderTable, Option("Rules for every client, behind those of users and groups.")] = (
        HolderTable()
    )


@dataclass(frozen=True, slots=True)
class _Holder:
    """One who holds rules, by whatever name."""

    path: KeyPath
    tier: int
    table: HolderTable | GroupTable


def _holders(tables: AccessTables) -> Iterator[_Holder]:
    yield _Holder(("anonymous",), _OWN, tables.anonymous)
    yield _Holder(("everybody",), _OF_EVERYBODY, tables.everybody)
    for name, user in tables.users.items():
        yield _Holder(("users", name), _OWN, user)
    for name, group in tables.groups.items():
        yield _Holder(("groups", name), _OF_GROUPS, group)


def _mistakes(tables: AccessTables) -> Iterator[tuple[KeyPath, str]]:
    """What is right by itself and wrong in its place: where, and what to say of it."""
    for holder in _holders(tables):
        for index, role in enumerate(holder.table.roles):
            if role not in tables.roles:
                yield (*holder.path, "roles", index), f'no role "{role}" is defined{did_you_mean(role, tables.roles)}'
    for index, rule in enumerate(tables.anonymous.rules):
        if "%u" in rule.topic:
            yield (
                ("anonymous", "rules", index),
                "%u: these clients have no user name, the rule would never count",
            )


def _has_rules(tables: AccessTables) -> bool:
    """Whether there is a rule that counts for anybody."""
    return any(
        holder.table.rules or any(tables.roles[role].rules for role in holder.table.roles if role in tables.roles)
        for holder in _holders(tables)
    )


# --- the rules in force ------------------------------------------------------------------------


class _RuleBook:
    """Everybody's rules, compiled: each set once, put together for whoever has them."""

    def __init__(self, *, checks_subscriptions: bool) -> None:
        self._checks_subscriptions = checks_subscriptions

        #: The sets of one user, by its name; None: of clients that have none.
        self._users: dict[str | None, tuple[AccessRules, ...]] = {}

        self._everybody: tuple[AccessRules, ...] = ()

        #: Mosquitto's patterns, for all but clients of odd names, and what is left of them for those.
        self._patterns: tuple[AccessRules, ...] = ()
        self._patterns_for_odd_names: tuple[AccessRules, ...] = ()

        #: What was put together. As many as there are different users, at most, and twice that.
        self._known: dict[tuple[AccessRules, ...], AccessRules] = {}

        self.warnings: list[Problem] = []

    def add_tables(self, tables: AccessTables, source_of: Callable[[KeyPath], str]) -> None:
        """``source_of`` says where a key was said, for the log."""
        compiled: dict[tuple[str, int], AccessRules] = {}

        def of_role(name: str, tier: int) -> AccessRules:
            if (name, tier) not in compiled:
                compiled[name, tier] = AccessRules(_rules(("roles", name), tables.roles[name], tier, source_of))
            return compiled[name, tier]

        for holder in _holders(tables):
            sets = [of_role(role, holder.tier) for role in dict.fromkeys(holder.table.roles)]
            if holder.table.rules:
                sets.insert(0, AccessRules(_rules(holder.path, holder.table, holder.tier, source_of)))
            if isinstance(holder.table, GroupTable):
                for member in dict.fromkeys(holder.table.members):
                    self._add_to(member, sets)
            elif holder.tier == _OF_EVERYBODY:
                self._everybody += tuple(sets)
            else:
                self._add_to(str(holder.path[1]) if len(holder.path) > 1 else None, sets)

    def add_mosquitto(self, file: MosquittoFile) -> None:
        """The rules of an ACL file that has no problems."""
        self.warnings += file.warnings
        for user, rules in file.users.items():
            self._add_to(user, [AccessRules(rules)])
        if file.patterns:
            self._patterns = (AccessRules(file.patterns),)
            self._patterns_for_odd_names = (AccessRules(rule for rule in file.patterns if not rule.allows),)

    def _add_to(self, user: str | None, sets: Iterable[AccessRules]) -> None:
        self._users[user] = self._users.get(user, ()) + tuple(sets)

    def access_of(self, client: Client) -> Access:
        """What a client may do. Clients with the same rules have the same object, but for placeholders."""
        # As in Mosquitto, no pattern allows anything to a name with a wildcard in it, not even one without placeholder.
        is_odd = any(one in name for name in (client.client_id, client.user_name or "") for one in "+#")
        sets = (
            *self._users.get(client.user_name, ()),
            *self._everybody,
            *(self._patterns_for_odd_names if is_odd else self._patterns),
        )
        rules = self._known.get(sets)
        if rules is None:
            rules = AccessRules(parts=sets, checks_subscriptions=self._checks_subscriptions)
            self._known[sets] = rules
        return rules.for_client(client)


def _rules(
    path: KeyPath, table: HolderTable | GroupTable | RoleTable, tier: int, source_of: Callable[[KeyPath], str]
) -> Iterator[Rule]:
    for index, rule in enumerate(table.rules):
        source = source_of((*path, "rules", index))
        if rule.allow:
            yield Rule(rule.topic, frozenset(rule.allow), True, rule.max_qos, rule.retain, source, tier)
        if rule.deny:
            yield Rule(rule.topic, frozenset(rule.deny), False, source=source, tier=tier)


# --- the plugin --------------------------------------------------------------------------------


class AccessFile:
    """Gives every client its rules; who has none may do nothing."""

    @dataclass(frozen=True, slots=True)
    class Config(AccessTables):
        """``[plugins.access_file]``."""

        path: Annotated[
            Path | None,
            Option(
                "A file with more rules: in TOML, as they are here, if its name ends in .toml; else in the form of "
                "Mosquitto's acl_file.",
                example='path = "acl.conf"',
            ),
        ] = None
        mosquitto_subscriptions: Annotated[
            bool,
            Option(
                "As Mosquitto does: every subscription is granted, and of what it matches only what may be received "
                "is delivered. Otherwise a subscription that no rule covers is refused."
            ),
        ] = False

        def __post_init__(self) -> None:
            mistakes = [f"{_key_text(key)}: {text}" for key, text in _mistakes(self)]
            if mistakes:
                raise ValueError("; ".join(mistakes))
            if self.path is None and not _has_rules(self):
                raise ValueError(
                    'no rule for anybody: expected "path", or rules in "users", "groups", "anonymous" or "everybody"'
                )

    def __init__(self, config: Config) -> None:
        self._book = _read(config)
        self._broker: Broker | None = None
        _log_warnings(self._book)

    @hookimpl
    async def broker_starting(self, broker: Broker) -> None:
        """Keep what is needed to tell of other rules."""
        self._broker = broker

    @hookimpl
    async def load_access(self, client: Client) -> Access:
        """The rules of one client."""
        return self._book.access_of(client)

    @hookimpl
    async def prepare_reload(self, config: Config) -> Callable[[], None]:
        """Read the rules again; they count from the call of what is returned."""
        book = await trio.to_thread.run_sync(_read, config)

        def apply() -> None:
            self._book = book
            if config.path is not None:
                _logger.info("Read %s again", config.path)
            _log_warnings(book)
            if self._broker is not None:
                self._broker.access_changed()

        return apply


def _log_warnings(book: _RuleBook) -> None:
    for warning in book.warnings:
        _logger.warning("%s", warning.line("warning"))


def _read(config: AccessFile.Config) -> _RuleBook:
    """The rules of the options and of the file that they name. PluginError where the file cannot be used."""
    book = _RuleBook(checks_subscriptions=not config.mosquitto_subscriptions)
    book.add_tables(config, _key_text)
    if config.path is None:
        return book
    if config.path.suffix == ".toml":
        _read_toml(config.path, book)
    else:
        _read_mosquitto(config.path, book)
    return book


def _key_text(path: KeyPath) -> str:
    return Positions({}).key(path)


def _read_toml(path: Path, book: _RuleBook) -> None:
    try:
        tables, positions = read_table_file(path, AccessTables)
    except ConfigError as error:
        raise PluginError(str(error)) from None
    problems = [positions.problem(key, text) for key, text in _mistakes(tables)]
    if problems:
        raise PluginError("\n".join(problem.line("error") for problem in problems))
    if not _has_rules(tables):
        raise PluginError(_no_rule(path))

    def source_of(key: KeyPath) -> str:
        place = positions.place(key)
        return f"{Path(place.source).name}:{place.line}"

    book.add_tables(tables, source_of)


def _read_mosquitto(path: Path, book: _RuleBook) -> None:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        text = getattr(error, "strerror", None) or error
        raise PluginError(Problem(Place(str(path)), "", f"cannot be read: {text}").line("error")) from None
    if len(content) > _FILE_MAX_BYTES:
        text = f"is larger than {_FILE_MAX_BYTES} bytes: not a file of rules"
        raise PluginError(Problem(Place(str(path)), "", text).line("error"))
    acl = MosquittoFile(path, users_tier=_OWN, patterns_tier=_OF_EVERYBODY)
    acl.read(content)
    if acl.problems:
        raise PluginError("\n".join(problem.line("error") for problem in acl.problems))
    if not acl.has_rules:
        raise PluginError(_no_rule(path))
    book.add_mosquitto(acl)


def _no_rule(path: Path) -> str:
    text = "no rule for anybody, so that nobody could do anything: write rules, or load no access_file"
    return Problem(Place(str(path)), "", text).line("error")
