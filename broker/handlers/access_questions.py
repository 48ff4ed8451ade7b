"""The questions about access that plugins are asked, and what no answer amounts to."""

from enum import Enum

from noctule.core.access import Action
from noctule.core.clients import Client
from noctule.handlers.access import NO_ACCESS, AskedAccess, SessionAccess
from noctule.handlers.means import Means
from noctule.hooks.answers import Deny, Verdict
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
    return Deny("no plugin has answered") if answer is None else answer
