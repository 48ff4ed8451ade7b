"""Access rules as tokens and answers over HTTP have them, in JSON."""

from collections.abc import Iterator
from typing import Final

from noctule.api import Action, Rule, check_rule
from noctule.plugins.web.strict_json import JsonError, is_text

#: Rules in one token or answer. Each costs at every connect; who needs more is better served by placeholders.
RULES_MAX: Final = 1_000

_ACTIONS: Final = {action.value: action for action in Action}


def read_rules(value: object, source: str) -> tuple[Rule, ...]:
    """The rules that a JSON value is. ValueError, its writer's fault, for anything that is not exactly one of:

    - an object ``{"publish": [FILTER, ...], "subscribe": [...], "receive": [...]}``, each list optional. Where only
      one of ``subscribe`` and ``receive`` is there, it stands for both;
    - an array of objects ``{"topic": FILTER, "actions": ["publish", ...], "allow": true, "qos_max": 2,
      "retain": true}``, all but ``topic`` optional.

    ``source`` names the rules in the log.
    """
    if isinstance(value, dict):
        rules = tuple(_from_lists(value, source))
    elif isinstance(value, list):
        rules = tuple(_from_object(one, f"{source}[{index}]") for index, one in enumerate(value))
    else:
        raise JsonError(f"{source} is neither an object nor an array")
    if len(rules) > RULES_MAX:
        raise JsonError(f"{source} has more than {RULES_MAX} rules")
    for rule in rules:
        check_rule(rule)
    return rules


def _from_lists(lists: dict[str, object], source: str) -> Iterator[Rule]:
    for key, filters in lists.items():
        if key not in _ACTIONS:
            raise JsonError(f'{source} has a member other than "publish", "subscribe" and "receive"')
        if not isinstance(filters, list):
            raise JsonError(f"{source}.{key} is not an array")
        actions = {_ACTIONS[key]}
        if key != "publish" and not ("subscribe" in lists and "receive" in lists):
            actions = {Action.SUBSCRIBE, Action.RECEIVE}
        for index, topic_filter in enumerate(filters):
            yield Rule(_filter(topic_filter, source), frozenset(actions), source=f"{source}.{key}[{index}]")


def _from_object(value: object, source: str) -> Rule:
    if not isinstance(value, dict):
        raise JsonError(f"{source} is not an object")
    if value.keys() - {"topic", "actions", "allow", "qos_max", "retain"}:
        # Whoever wrote it meant something by it; perhaps to allow less.
        raise JsonError(f"{source} has a member that is not known")
    actions = value.get("actions", list(_ACTIONS))
    if not isinstance(actions, list) or not actions or not all(isinstance(one, str) for one in actions):
        raise JsonError(f"{source}.actions is not an array of texts")
    if not set(actions) <= _ACTIONS.keys():
        raise JsonError(f'{source}.actions has another one than "publish", "subscribe" and "receive"')
    return Rule(
        _filter(value.get("topic"), source),
        frozenset(_ACTIONS[one] for one in actions),
        allows=read_bool(value, "allow", default=True),
        qos_max=read_qos(value),
        retain=read_bool(value, "retain", default=True),
        source=source,
    )


def _filter(value: object, source: str) -> str:
    if not isinstance(value, str) or not is_text(value):
        raise JsonError(f"{source} has a topic filter that is not a text, or empty")
    return value


def read_bool(members: dict[str, object], name: str, *, default: bool) -> bool:
    """A member that is true or false. JsonError where it is something else."""
    value = members.get(name, default)
    if not isinstance(value, bool):
        raise JsonError(f'"{name}" is neither true nor false')
    return value


def read_qos(members: dict[str, object]) -> int:
    """The member ``qos_max``. JsonError where it is not 0, 1 or 2."""
    value = members.get("qos_max", 2)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 2:
        raise JsonError('"qos_max" is not 0, 1 or 2')
    return value
