"""Takes away the subscriptions that a session may not have any more."""

from noctule._speedups.session import Session
from noctule.handlers.access import AskedAccess, SessionAccess
from noctule.handlers.connection import escaped
from noctule.handlers.means import Means


def drop_what_is_not_allowed(means: Means, session: Session) -> None:
    """Drop each subscription that ``session.access`` does not allow: its rules say no, or whoever was asked has."""
    access: SessionAccess | None = session.access
    if access is None:
        return
    for topic_filter, share_name, _, _, _ in means.state.router.subscriptions_of(session):
        name, share = topic_filter.decode(), share_name.decode() if share_name else None
        if isinstance(access, AskedAccess):
            text = filter_text(name, share)
            if not access.allows_subscription(text):
                access.revoke_subscription(text)
                drop_subscription(means, session, name, share)
        elif access.subscribe_qos_max(name, share) is None:
            drop_subscription(means, session, name, share)


def drop_subscription(means: Means, session: Session, topic_filter: str, share_name: str | None) -> None:
    """Take a subscription away that is no longer allowed."""
    state = means.state
    share = None if share_name is None else share_name.encode()
    if not state.router.unsubscribe(session, topic_filter.encode(), share):
        return
    text = filter_text(topic_filter, share_name)
    state.logger.info(
        "Client %s: the subscription to %s is no longer allowed, dropped.",
        escaped(session.client_id),
        escaped(text),
    )
    if state.watchers.unsubscribed is not None:
        state.watchers.unsubscribed(session, text)


def filter_text(topic_filter: str, share_name: str | None) -> str:
    """The filter as a client writes it, ``$share/...`` included."""
    return topic_filter if share_name is None else f"$share/{share_name}/{topic_filter}"
