"""Judges again what was allowed once: after rules have changed, and where an answer has become too old."""

from typing import Final

import trio
from noctule._speedups.session import Session
from noctule.core.access import Action
from noctule.handlers.access import NO_ACCESS, AskedAccess, GuardedAccess, SessionAccess, rights_of_verdict
from noctule.handlers.access_questions import Unlimited, authorized, load_rules
from noctule.handlers.connection import escaped
from noctule.handlers.decisions import Turns
from noctule.handlers.means import Means
from noctule.handlers.revoking import drop_subscription, drop_what_is_not_allowed
from noctule.hooks.answers import Allow, Deny
from noctule.protocol.filters import split_filter

#: Clients whose rules are loaded at one time.
_LOADED_AT_ONCE: Final = 16


class Rejudging:
    """One for each broker."""

    def __init__(self, means: Means, turns: Turns) -> None:
        self._means = means
        self._turns = turns

        #: The newest loading of each session's rules: an older one that ends later does not count.
        self._newest: dict[Session, object] = {}

    async def judge_again(self, sessions: list[Session]) -> None:
        """Ask for the rules of these sessions again, connected or not, and drop what they no longer allow."""
        limiter = trio.CapacityLimiter(_LOADED_AT_ONCE)
        async with trio.open_nursery() as nursery:
            for session in sessions:
                await limiter.acquire_on_behalf_of(session)
                nursery.start_soon(self._load_again, session, limiter)

    async def _load_again(self, session: Session, limiter: trio.CapacityLimiter) -> None:
        try:
            if session.client is None:
                return
            if isinstance(session.access, AskedAccess):
                await self._ask_again(session, session.access)
                return
            client = session.client
            token = self._newest[session] = object()
            try:
                access = await self._rules_of(session)
            finally:
                is_newest = self._newest.get(session) is token
                if is_newest:
                    del self._newest[session]
            if not is_newest or session.client is not client:
                return  # asked again meanwhile, or the client has connected again: that has brought its rules
            self._turns.begin_turn()
            session.access = access
            self._means.state.router.access_changed()
            # Of a session that was kept nobody knows where its client came from, and a rule may be about that.
            if session.client.listener:
                drop_what_is_not_allowed(self._means, session)
            self._turns.end_turn()
            if isinstance(access, AskedAccess):
                await self._ask_again(session, access)
        except Exception:  # it must not end the tasks of the other sessions
            self._means.state.logger.exception("An error of the broker's while rules are loaded again")
        finally:
            limiter.release_on_behalf_of(session)

    async def _rules_of(self, session: Session) -> SessionAccess | None:
        """Its rules now; NO_ACCESS where a plugin has failed."""
        means = self._means
        known = session.access
        if isinstance(known, GuardedAccess) and known.is_of_login:
            return known  # no other than the one who has let it in knows them
        try:
            with trio.fail_after(means.state.settings.limits.decision_timeout_s):
                answer = await load_rules(means, session.client)
        except Exception as error:
            means.state.logger.error(
                "The access rules of client %s could not be loaded again: it may do nothing.",
                escaped(session.client_id),
                exc_info=error,
            )
            return NO_ACCESS
        return None if answer is Unlimited.YES else answer

    async def _ask_again(self, session: Session, access: AskedAccess) -> None:
        """Judge its Will and subscriptions anew; about topics that it publishes to, it is asked when it does."""
        access.forget()
        self._means.state.router.access_changed()
        will = session.will
        if will is not None:
            access.will_rights = 0
            verdict = await self._authorized(session, Action.PUBLISH, will.topic)
            access.will_rights = rights_of_verdict(verdict)
        await self.judge_subscriptions_again(session, access)

    async def judge_subscriptions_again(self, session: Session, access: AskedAccess) -> None:
        """Ask about the subscriptions whose answer is too old, and drop those that are not allowed any more."""
        for text in access.overdue_subscriptions():
            verdict = await self._authorized(session, Action.SUBSCRIBE, text)
            if session.access is not access or not access.allows_subscription(text):
                continue  # the client has connected again, or does not want it any more
            self._turns.begin_turn()
            if isinstance(verdict, Allow):
                access.learn_subscription(text, verdict)
            else:
                access.revoke_subscription(text)
                share_name, topic_filter = split_filter(text)
                drop_subscription(self._means, session, topic_filter, share_name)
            self._turns.end_turn()

    async def _authorized(self, session: Session, action: Action, topic: str) -> object:
        means = self._means
        try:
            with trio.fail_after(means.state.settings.limits.decision_timeout_s):
                return await authorized(means, session.client, action, topic)
        except Exception as error:
            return Deny(f"{error!r}")

    async def look_after_answers(self) -> None:
        """Forget answers of ``authorize`` that are too old and judge their subscriptions again, until cancelled."""
        state = self._means.state
        while True:
            await trio.sleep(1.0)
            self._turns.begin_turn()  # without traffic nobody else has told the time
            has_expired = False
            for session in list(state.sessions):
                access = session.access
                if isinstance(access, AskedAccess):
                    has_expired |= access.has_expired()
                    if access.overdue_subscriptions():
                        await self.judge_subscriptions_again(session, access)
            if has_expired:
                state.router.access_changed()
