"""Clients, one of them, and subscriptions."""

from collections.abc import AsyncIterator, Iterator
from typing import Final

import trio
from noctule._speedups.link import Link
from noctule._speedups.session import Session
from noctule.core.clients import Client as KnownClient
from noctule.core.sessions import NEVER
from noctule.protocol.connect import Will as ArmedWill
from noctule.protocol.errors import PacketError
from noctule.protocol.filters import check_topic_name
from noctule.services.api import answers
from noctule.services.api.pages import matching, page_of, written
from noctule.services.api.requests import Parameter, Values
from noctule.services.api.view import View
from noctule.services.http import RequestError

_VERSIONS: Final = {3: "3.1", 4: "3.1.1", 5: "5.0"}

#: Subscriptions in the answer about one client.
_SUBSCRIPTIONS_MAX: Final = 1_000

CLIENT_FILTERS: Final = (
    Parameter("client_id", str, "Only those whose identifier has this in it."),
    Parameter("user_name", str, "Only those of this user."),
    Parameter("address", str, "Only those from this address."),
    Parameter("listener", str, "Only those of this listener."),
    Parameter("connected", bool, "Only those that are connected, or only those that are not."),
)

RATE_PARAMETERS: Final = (
    Parameter(
        "rate_interval_s", float, "Count for so long before answering, for rates of this moment.", 0.1, 10.0, None
    ),
)

SUBSCRIPTION_FILTERS: Final = (
    Parameter("client_id", str, "Only those of this client."),
    Parameter("topic_filter", str, "Only those to exactly this filter."),
    Parameter("matching", str, "Only those that match this topic name."),
)


async def clients(view: View, values: Values) -> AsyncIterator[bytes]:
    """A page of sessions, connected or not, in the order in which they began."""
    offset, limit = page_of(values)
    found = list(view.state.sessions)
    if any(values[one.name] is not None for one in CLIENT_FILTERS):
        found = await matching(found, lambda session: _is_wanted(session, values))
    page = answers.Page(len(found), True, offset, limit)
    now = trio.current_time()
    return written(page, found[offset : offset + limit], lambda session: client_answer(session, now))


def _is_wanted(session: Session, values: Values) -> bool:
    client: KnownClient | None = session.client
    part = values["client_id"]
    if part is not None and str(part) not in session.client_id:
        return False
    if values["connected"] is not None and session.connected is not values["connected"]:
        return False
    if values["user_name"] is not None and _user_name(session) != values["user_name"]:
        return False
    for name in ("address", "listener"):
        if values[name] is not None and (client is None or getattr(client, name) != values[name]):
            return False
    return True


def _user_name(session: Session) -> str | None:
    client: KnownClient | None = session.client
    owner: str | None = session.owner if client is None else client.user_name
    return owner


def client_answer(session: Session, now: float) -> answers.Client:
    """One session as the interface shows it."""
    client: KnownClient | None = session.client
    link = session.outlet if isinstance(session.outlet, Link) else None
    expiry_s = session.expiry_interval_s
    ends_in_s: float | None = None
    if link is None and expiry_s != NEVER:
        ends_in_s = round(max(0.0, session.ends_at - now), 3)
    return answers.Client(
        client_id=session.client_id,
        user_name=_user_name(session),
        is_connected=link is not None,
        peer=None if client is None else client.peer,
        listener=None if client is None else client.listener,
        protocol=None if client is None else _VERSIONS.get(client.protocol_version),
        connected_for_s=None if link is None else round(now - link.opened_at, 3),
        keep_alive_s=None if link is None else link.keep_alive_s,
        session_expiry_interval_s=None if expiry_s == NEVER else expiry_s,
        session_ends_in_s=ends_in_s,
        subscriptions=session.subscription_count,
        queued_messages=session.queued,
        queued_bytes=session.queued_bytes,
        inflight_messages=session.unacknowledged,
        unreleased_messages=session.unreleased,
        dropped_messages=session.dropped,
        is_kept=bool(session.store_id),
    )


async def client(view: View, client_id: str, values: Values) -> answers.ClientDetail:
    """One session whole. RequestError 404 where there is none."""
    session = view.state.sessions.find(client_id)
    if session is None:
        raise RequestError(404, "there is no session of this client identifier")
    link = session.outlet if isinstance(session.outlet, Link) else None
    rates = None
    if link is not None:
        before, since_s = answers.Traffic(0, 0, 0, 0, 0), trio.current_time() - link.opened_at
        if values["rate_interval_s"] is not None:
            before, since_s = _traffic(link), float(values["rate_interval_s"])
            await trio.sleep(since_s)
        rates = _rates(before, _traffic(link), since_s)
    will: ArmedWill | None = session.will
    return answers.ClientDetail(
        client=client_answer(session, trio.current_time()),
        will=None if will is None else answers.Will(will.topic, will.qos, will.retain, will.will_delay_interval_s),
        traffic=None if link is None else _traffic(link),
        rates=rates,
        subscriptions=list(_subscriptions_of(view, session))[:_SUBSCRIPTIONS_MAX],
    )


def _traffic(link: Link) -> answers.Traffic:
    pending_bytes = link.pending_bytes
    return answers.Traffic(
        link.received, link.written - pending_bytes, pending_bytes, link.publishes_received, link.publishes_sent
    )


def _rates(before: answers.Traffic, after: answers.Traffic, over_s: float) -> answers.Rates:
    def per_second(name: str) -> float:
        count: int = getattr(after, name) - getattr(before, name)
        return round(count / max(over_s, 0.001), 3)

    return answers.Rates(
        over_s=round(over_s, 3),
        received_bytes=per_second("received_bytes"),
        sent_bytes=per_second("sent_bytes"),
        publishes_received=per_second("publishes_received"),
        publishes_sent=per_second("publishes_sent"),
    )


def _subscriptions_of(view: View, session: Session) -> Iterator[answers.Subscription]:
    for topic_filter, share_name, qos, options, identifier in view.state.router.subscriptions_of(session):
        yield answers.Subscription(
            client_id=session.client_id,
            topic_filter=topic_filter.decode(),
            share_name=None if share_name is None else share_name.decode(),
            qos=qos,
            no_local=bool(options & 1),
            retain_as_published=bool(options & 2),
            identifier=identifier or None,
        )


async def subscriptions(view: View, values: Values) -> AsyncIterator[bytes]:
    """A page of subscriptions, client by client."""
    offset, limit = page_of(values)
    sessions = list(view.state.sessions)
    topic = values["matching"]
    if topic is not None:
        sessions = _matching_sessions(view, str(topic))
    if values["client_id"] is not None:
        sessions = [session for session in sessions if session.client_id == values["client_id"]]
    is_filtered = values["topic_filter"] is not None or topic is not None
    total = 0
    items: list[answers.Subscription] = []
    looked_at = 0
    for session in sessions:
        count = session.subscription_count
        looked_at += 1 + count
        if looked_at > 1_000:
            looked_at = 0
            await trio.lowlevel.checkpoint()
        if not count:
            continue
        if not is_filtered and (total + count <= offset or len(items) >= limit):
            total += count  # not on this page: nobody needs to see them
            continue
        for one in _subscriptions_of(view, session):
            if is_filtered and not _is_asked_for(one, values):
                continue
            if offset <= total and len(items) < limit:
                items.append(one)
            total += 1
    return written(answers.Page(total, True, offset, limit), items, lambda one: one)


def _is_asked_for(one: answers.Subscription, values: Values) -> bool:
    if values["topic_filter"] is not None and one.topic_filter != values["topic_filter"]:
        return False
    return values["matching"] is None or _matches(one.topic_filter, str(values["matching"]))


def _matching_sessions(view: View, topic: str) -> list[Session]:
    """Those with a subscription that matches the topic name. RequestError 400 where it is none."""
    try:
        check_topic_name(topic, view.settings.limits.topic_levels_max)
    except (PacketError, ValueError) as error:
        raise RequestError(400, f"matching: {error}") from None
    filters = view.state.router.filters
    name = topic.encode()
    found = [one for one, _, _, _ in filters.match(name)]
    for _, members in filters.match_groups(name):
        found += members
    return [one for one in dict.fromkeys(found) if isinstance(one, Session)]


def _matches(topic_filter: str, topic: str) -> bool:
    """Whether a filter matches a topic name (4.7)."""
    if topic.startswith("$") and topic_filter[:1] in ("+", "#"):
        return False
    wanted, levels = topic_filter.split("/"), topic.split("/")
    for index, level in enumerate(wanted):
        if level == "#":
            return True
        if index >= len(levels) or level not in ("+", levels[index]):
            return False
    return len(wanted) == len(levels)
