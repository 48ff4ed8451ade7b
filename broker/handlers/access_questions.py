"""The questions about access that plugins are asked, and what no answer amounts to."""

import math
from enum import Enum

from noctule.core.access import Action
from noctule.core.clients import Client
from noctule.handlers.access import NO_ACCESS, AskedAccess, SessionAccess
from noctule.handlers.means import Means
from noctule.hooks.answers import Allow, Deny, Verdict
from noctule.hooks.table import first_answer


class Unlimited(Enum):
    """An answer that is not None, which is a failure: no plugin limits what the client may do."""

    YES = True


async def load_rules(means: Means, client: Client) -> SessionAccess | Unlimited:
    """What a client may do, by the first plugin that has rules for it. What a plugin raises is passed on."""
    access = await first_answer(means.hooks.load_access, client)
    if access is not None:
        return means.guards.guard(access)
    without = access_without_rules(means)
    return Unlimited.YES if without is None else without


def access_without_rules(means: Means) -> SessionAccess | None:
    """What a client may do whom ``load_access`` has no rules for: what ``authorize`` says; nothing, where plugins have
    rules and none for it; everything (None), where no plugin decides on access at all."""
    if means.hooks.authorize:
        plane = means.state.plane
        return AskedAccess(lambda: plane.now)
    return NO_ACCESS if means.hooks.load_access else None


async def authorized(means: Means, client: Client, action: Action, topic: str) -> Verdict:
    """Whether a client may do that at a topic, by the first plugin that knows. What a plugin raises is passed on."""
    answer = await first_answer(means.hooks.authorize, client, action, topic)
    return Deny("no plugin has answered") if answer is None else checked_verdict(answer)


def checked_verdict(answer: object) -> Verdict:
    """An answer of ``authenticate`` or ``authorize``. TypeError and ValueError, the plugin's fault, where it is none:
    what has a wrong type would be found out later, where something depends on it."""
    if not isinstance(answer, Allow | Deny):
        raise TypeError(f"an answer of the type {type(answer).__name__}, where Allow or Deny is expected")
    _check_number("remember_s", answer.remember_s)
    if isinstance(answer, Deny):
        _check_type("why", answer.why, str)
        _check_type("reason_code", answer.reason_code, int)
        return answer
    _check_number("expires_at", answer.expires_at)
    if answer.user_name is not None:
        _check_type("user_name", answer.user_name, str)
    _check_type("qos_max", answer.qos_max, int)
    if not 0 <= answer.qos_max <= 2:
        raise ValueError(f"a qos_max of {answer.qos_max}")
    return answer


def _check_type(name: str, value: object, wanted: type) -> None:
    if not isinstance(value, wanted):
        raise TypeError(f"{name} of the type {type(value).__name__}, where {wanted.__name__} is expected")


def _check_number(name: str, value: object) -> None:
    """Return where it is None or a number. TypeError, ValueError otherwise."""
    if value is None:
        return
    if not isinstance(value, int | float):
        raise TypeError(f"{name} of the type {type(value).__name__}")
    if math.isnan(value):
        raise ValueError(f"{name} is no number")
