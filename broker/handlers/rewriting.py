"""Subscriptions as plugins rewrite them, in SUBSCRIBE and in UNSUBSCRIBE alike."""

from noctule.core.clients import Client
from noctule.handlers.means import Means
from noctule.hooks.answers import Subscription
from noctule.protocol.filters import split_filter


def filter_text(subscription: Subscription) -> str:
    """The filter as a client writes it, ``$share/...`` included."""
    if subscription.share_name is None:
        return subscription.topic_filter
    return f"$share/{subscription.share_name}/{subscription.topic_filter}"


def check_subscription(means: Means, subscription: Subscription) -> None:
    """PacketError where a plugin has made of a filter what cannot be one."""
    split_filter(filter_text(subscription), means.state.settings.limits.topic_levels_max)


async def rewritten(means: Means, client: Client, subscription: Subscription) -> Subscription:
    """The subscription as the plugins want it, each getting what the one before has made of it."""
    for hook in means.hooks.rewrite_subscription:
        answer = await hook.call(client, subscription)
        if isinstance(answer, Subscription):
            subscription = answer
        elif answer is not None:
            raise TypeError(f"rewrite_subscription of plugin {hook.plugin} has answered {type(answer).__name__}")
    return subscription
