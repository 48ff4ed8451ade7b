"""Subscriptions as plugins rewrite them, in SUBSCRIBE and in UNSUBSCRIBE alike."""

from noctule.core.clients import Client
from noctule.handlers import revoking
from noctule.handlers.means import Means
from noctule.hooks.answers import Subscription
from noctule.protocol.constants import VARIABLE_BYTE_INTEGER_MAXIMUM
from noctule.protocol.filters import SubscriptionFilter, check_topic_filter, split_filter


def filter_text(subscription: Subscription) -> str:
    """The filter as a client writes it, ``$share/...`` included."""
    return revoking.filter_text(subscription.topic_filter, subscription.share_name)


def mounted(text: str, mount_point: str, levels_max: int | None = None) -> SubscriptionFilter:
    """The filter that a client has written, taken apart, below its mount point. PacketError where it cannot be one."""
    share_name, topic_filter = split_filter(text, None if mount_point else levels_max)
    if mount_point:
        topic_filter = mount_point + topic_filter
        check_topic_filter(topic_filter, levels_max)
    return SubscriptionFilter(share_name, topic_filter)


def check_subscription(means: Means, subscription: Subscription) -> None:
    """PacketError where a plugin has made of a filter what cannot be one, ValueError where its options cannot be."""
    identifier = subscription.identifier
    if (
        subscription.qos not in (0, 1, 2)
        or subscription.retain_handling not in (0, 1, 2)
        or not (identifier is None or 0 < identifier <= VARIABLE_BYTE_INTEGER_MAXIMUM)
    ):
        raise ValueError(f"a subscription with options that it cannot have: {subscription!r}")
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
