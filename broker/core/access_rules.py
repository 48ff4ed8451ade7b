"""Rules of access as trees of topic levels: what a decision costs does not grow with the number of rules."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from noctule.core.access import Access, Action, PublishRight, Rule
from noctule.core.clients import Client
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_filter

#: What ``rule_of`` says where no rule has decided.
NO_RULE_MATCHES: Final = "no rule matches"
NO_RULE_COVERS: Final = "no rule covers the whole filter"

_CLIENT_ID: Final = "%c"
_USER_NAME: Final = "%u"

_QOS_MAX: Final = 2

_LONGEST_SHOWN: Final = 60


def check_rule(rule: Rule) -> None:
    """Return if the rule can be one. ValueError where its filter is not well formed or its QoS is none; the fault of
    whoever wrote it."""
    where = f"{rule.source}: " if rule.source else ""
    try:
        check_topic_filter(rule.topic_filter)
    except PacketError as error:
        text = rule.topic_filter
        shown = text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."
        raise ValueError(f"{where}{shown!a} is no topic filter: {error}") from None
    if not 0 <= rule.qos_max <= _QOS_MAX:
        raise ValueError(f"{where}the highest QoS is {rule.qos_max}: expected 0, 1 or 2")


class AccessRules:
    """Rules, and for each client the ``Access`` that they amount to.

    ``parts`` are other sets of rules that count as well, as if all were one; their trees are shared, so that a
    thousand users of a group do not hold its rules a thousand times. Where ``checks_subscriptions`` is false every
    subscription is granted, and what it brings is checked message by message, as Mosquitto does; that of the parts is
    not looked at.

    A decision walks the levels of its topic, from each node to at most that of the level's text, that of ``+``, and
    those of placeholders which stand for just this text. Rules that part there again and again, level by level, cost
    more; all others are not met at all.

    ValueError, the caller's fault, where a rule's filter is not well formed or its QoS is none.
    """

    __slots__ = ("_checks_subscriptions", "_denials", "_publish", "_receive", "_shared", "_subscribe", "_templates")

    def __init__(
        self,
        rules: Iterable[Rule] = (),
        *,
        parts: Sequence["AccessRules"] = (),
        checks_subscriptions: bool = True,
    ) -> None:
        trees = {action: _Tree() for action in Action}
        templates: dict[str, None] = {}
        denials = []
        for rule in rules:
            check_rule(rule)
            levels = rule.topic_filter.split("/")
            rule_templates = [level for level in levels if _is_template(level)] if rule.has_placeholders else []
            templates.update(dict.fromkeys(rule_templates))
            if rule_templates and not rule.allows:
                denials.append(rule)
            for action in rule.actions:
                trees[action].add(levels, rule)
        for part in parts:
            templates.update(dict.fromkeys(part._templates))
        #: Each level with placeholders, once, and the rules that deny and have one.
        self._templates: tuple[str, ...] = tuple(templates)
        self._denials: tuple[Rule, ...] = (*denials, *(rule for part in parts for rule in part._denials))
        self._publish: _Forest = _Forest((trees[Action.PUBLISH],)).joined(part._publish for part in parts)
        self._receive: _Forest = _Forest((trees[Action.RECEIVE],)).joined(part._receive for part in parts)
        self._subscribe: _Forest = _Forest((trees[Action.SUBSCRIBE],)).joined(part._subscribe for part in parts)
        self._checks_subscriptions = checks_subscriptions
        self._shared = _ClientAccess(self._publish, self._receive, self._subscribe, {}, checks_subscriptions)

    def for_client(self, client: Client) -> Access:
        """What the rules amount to for one client; the same object for all for whom no rule has a placeholder."""
        if not self._templates:
            return self._shared
        values = _Values(client.client_id, client.user_name)
        filled: dict[str, list[str]] = {}
        for template in self._templates:
            if values.are_levels(template):
                filled.setdefault(values.fill(template), []).append(template)
        denying = self._denials_for(values)
        if not filled and not denying:
            return self._shared
        publish, receive, subscribe = self._publish, self._receive, self._subscribe
        if denying:
            publish = publish.joined([_Forest((denying[Action.PUBLISH],))])
            receive = receive.joined([_Forest((denying[Action.RECEIVE],))])
            subscribe = subscribe.joined([_Forest((denying[Action.SUBSCRIBE],))])
        return _ClientAccess(publish, receive, subscribe, filled, self._checks_subscriptions)

    def _denials_for(self, values: "_Values") -> "dict[Action, _Tree] | None":
        """The rules that deny and whose placeholders cannot be filled in level by level, with the values as text."""
        trees: dict[Action, _Tree] | None = None
        for rule in self._denials:
            template = rule.topic_filter
            if not values.are_text(template):  # then it is about topics that there cannot be
                continue
            text = values.fill(template)
            # A name that begins with "$" leads an allowing rule nowhere (4.7.2), but what it denies stays denied.
            moves = text.startswith("$") and not template.startswith("$")
            if values.are_levels(template) and not moves:
                continue
            if trees is None:
                trees = {action: _Tree() for action in Action}
            for action in rule.actions:
                trees[action].add(text.split("/"), replace(rule, topic_filter=text, has_placeholders=False))
        return trees


@dataclass(frozen=True, slots=True)
class _Values:
    """What the placeholders stand for, for one client."""

    client_id: str
    user_name: str | None

    def are_levels(self, template: str) -> bool:
        """Whether each value that the text asks for can be, or be within, a single topic level and nothing else."""
        return all(value is not None and _is_level(value) for value in self._asked_for(template))

    def are_text(self, template: str) -> bool:
        """Whether a topic name can have the values that the text asks for in it, be it over several levels."""
        return all(value is not None and _is_topic_text(value) for value in self._asked_for(template))

    def fill(self, template: str) -> str:
        """The text with the values in it. A value that looks like a placeholder is none."""
        pieces = template.split(_CLIENT_ID)
        if self.user_name is not None:
            pieces = [piece.replace(_USER_NAME, self.user_name) for piece in pieces]
        return self.client_id.join(pieces)

    def _asked_for(self, template: str) -> Iterable[str | None]:
        if _CLIENT_ID in template:
            yield self.client_id
        if _USER_NAME in template:
            yield self.user_name


def _is_topic_text(value: str) -> bool:
    return not any(one in value for one in "+#\0")


def _is_level(value: str) -> bool:
    return bool(value) and "/" not in value and _is_topic_text(value)


def _is_template(level: str) -> bool:
    return _CLIENT_ID in level or _USER_NAME in level


# --- trees ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Ruling:
    """What the rules of one filter say to one action."""

    #: Twice the tier, and one more where it allows: of two that match the lower counts, and a denial comes first.
    rank: int

    right: PublishRight
    source: str

    @property
    def allows(self) -> bool:
        return self.rank & 1 == 1

    def with_other(self, other: "_Ruling | None") -> "_Ruling":
        """Both together, where both match."""
        if other is None or other.rank > self.rank:
            return self
        if other.rank < self.rank:
            return other
        mine, its = self.right, other.right
        if mine.qos_max >= its.qos_max and mine.retain >= its.retain:
            return self
        right = PublishRight(max(mine.qos_max, its.qos_max), mine.retain or its.retain)
        return _Ruling(self.rank, right, self.source)


class _Node:
    """One level of the rules' filters."""

    __slots__ = ("any_level", "below", "children", "here", "templates")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}

        #: By the level's text as it is in the rule, with its placeholders.
        self.templates: dict[str, _Node] = {}

        #: ``+``.
        self.any_level: _Node | None = None

        #: The rules whose filters end here.
        self.here: _Ruling | None = None

        #: The rules that end with ``#`` behind this level: they match it too (4.7.1.2).
        self.below: _Ruling | None = None


class _Tree:
    """The rules about one action."""

    __slots__ = ("depth", "ordinary", "reserved")

    def __init__(self) -> None:
        #: The most levels that a rule has.
        self.depth = 0

        #: Rules that begin with ``$``, and all others: no topic can match rules of both kinds [MQTT-4.7.2-1].
        self.reserved: _Node | None = None
        self.ordinary: _Node | None = None

    def add(self, levels: Sequence[str], rule: Rule) -> None:
        if levels[0].startswith("$"):
            node = self.reserved = self.reserved or _Node()
        else:
            node = self.ordinary = self.ordinary or _Node()
        self.depth = max(self.depth, len(levels))
        ruling = _Ruling(2 * rule.tier + rule.allows, PublishRight(rule.qos_max, rule.retain), rule.source)
        for level in levels:
            if level == "#":
                node.below = node.below.with_other(ruling) if node.below is not None else ruling
                return
            if level == "+":
                node.any_level = node = node.any_level or _Node()
            elif rule.has_placeholders and _is_template(level):
                node = node.templates.setdefault(level, _Node())
            else:
                node = node.children.setdefault(level, _Node())
        node.here = node.here.with_other(ruling) if node.here is not None else ruling


class _Forest:
    """Several trees about the same action, walked as if they were one."""

    __slots__ = ("_depth", "_ordinary", "_reserved")

    def __init__(self, trees: Iterable[_Tree] = ()) -> None:
        known = tuple(trees)
        self._depth = max((tree.depth for tree in known), default=0)
        self._ordinary = tuple(tree.ordinary for tree in known if tree.ordinary is not None)
        self._reserved = tuple(tree.reserved for tree in known if tree.reserved is not None)

    def joined(self, others: Iterable["_Forest"]) -> "_Forest":
        """These trees and those of the others; nothing is copied but the references to their roots."""
        whole = _Forest()
        whole._depth, whole._ordinary, whole._reserved = self._depth, self._ordinary, self._reserved
        for other in others:
            whole._depth = max(whole._depth, other._depth)
            whole._ordinary += other._ordinary
            whole._reserved += other._reserved
        return whole

    def matching(self, topic: str, filled: Mapping[str, Sequence[str]]) -> list[_Ruling]:
        """What the rules say that match a topic name. ``filled``: which templates a level's text is, for the client."""
        found: list[_Ruling] = []
        nodes: Sequence[_Node] = self._reserved if topic.startswith("$") else self._ordinary
        # Nothing is as deep as what is left after that many slashes, whatever the client has sent.
        for level in topic.split("/", self._depth):
            following = []
            templates = filled.get(level, ())
            for node in nodes:
                if node.below is not None:
                    found.append(node.below)
                child = node.children.get(level)
                if child is not None:
                    following.append(child)
                if node.any_level is not None:
                    following.append(node.any_level)
                if templates and node.templates:
                    following.extend(node.templates[one] for one in templates if one in node.templates)
            if not following:
                return found
            nodes = following
        for node in nodes:
            if node.below is not None:
                found.append(node.below)
            if node.here is not None:
                found.append(node.here)
        return found

    def covering(self, topic_filter: str, filled: Mapping[str, Sequence[str]]) -> list[_Ruling]:
        """What the rules say that match every topic name which the filter matches."""
        found: list[_Ruling] = []
        nodes: Sequence[_Node] = self._reserved if topic_filter.startswith("$") else self._ordinary
        for level in topic_filter.split("/", self._depth):
            if level == "#":
                # A rule that asks for one more level matches less, but where what it leaves out is no topic name: the
                # empty one. So "+/#" is as much as "#", and "/+/#" as much as "/#".
                if topic_filter in ("#", "/#"):
                    nodes = (*nodes, *(node.any_level for node in nodes if node.any_level is not None))
                found.extend(node.below for node in nodes if node.below is not None)
                return found
            following = []
            templates = filled.get(level, ())
            for node in nodes:
                if node.below is not None:
                    found.append(node.below)
                if node.any_level is not None:
                    following.append(node.any_level)
                if level == "+":
                    continue
                child = node.children.get(level)
                if child is not None:
                    following.append(child)
                if templates and node.templates:
                    following.extend(node.templates[one] for one in templates if one in node.templates)
            if not following:
                return found
            nodes = following
        for node in nodes:
            if node.below is not None:
                found.append(node.below)
            if node.here is not None:
                found.append(node.here)
        return found


def _together(rulings: Sequence[_Ruling]) -> _Ruling | None:
    """What several rulings amount to; None where there are none."""
    if not rulings:
        return None
    whole = rulings[0]
    for ruling in rulings:
        if ruling is not whole:
            whole = whole.with_other(ruling)
    return whole


# --- answers -------------------------------------------------------------------------------


class _ClientAccess:
    """An ``Access``: the trees, and what the placeholders in them stand for."""

    __slots__ = ("_checks_subscriptions", "_filled", "_publish", "_receive", "_subscribe")

    def __init__(
        self,
        publish: _Forest,
        receive: _Forest,
        subscribe: _Forest,
        filled: Mapping[str, Sequence[str]],
        checks_subscriptions: bool,
    ) -> None:
        self._publish = publish
        self._receive = receive
        self._subscribe = subscribe
        self._filled = filled
        self._checks_subscriptions = checks_subscriptions

    def publish_right(self, topic: str) -> PublishRight | None:
        """As ``Access`` has it."""
        ruling = _together(self._publish.matching(topic, self._filled))
        return ruling.right if ruling is not None and ruling.allows else None

    def may_receive(self, topic: str) -> bool:
        """As ``Access`` has it."""
        ruling = _together(self._receive.matching(topic, self._filled))
        return ruling is not None and ruling.allows

    def subscribe_qos_max(self, topic_filter: str, share_name: str | None) -> int | None:
        """As ``Access`` has it: granted where one rule that allows matches all that the filter matches, unless one
        that denies does so too. One that denies a part refuses nothing: each delivery is checked. A share group is
        judged as its filter is."""
        del share_name
        if not self._checks_subscriptions:
            return _QOS_MAX
        ruling = _together(self._subscribe.covering(topic_filter, self._filled))
        return ruling.right.qos_max if ruling is not None and ruling.allows else None

    def rule_of(self, action: Action, topic: str) -> str:
        """The source of the rule that decided, of several that agree the first to be met; or that there was none."""
        if action is Action.SUBSCRIBE:
            if not self._checks_subscriptions:
                return ""
            ruling = _together(self._subscribe.covering(topic, self._filled))
            return ruling.source if ruling is not None else NO_RULE_COVERS
        forest = self._publish if action is Action.PUBLISH else self._receive
        ruling = _together(forest.matching(topic, self._filled))
        return ruling.source if ruling is not None else NO_RULE_MATCHES
