"""One bridge: connects, carries, waits, and connects again, as its settings say."""

import logging

import trio
from noctule.bridges.addresses import AddressChoice
from noctule.bridges.collecting import Collection
from noctule.bridges.doubtful_identifiers import DoubtfulIdentifiers
from noctule.bridges.here import Here, LocalSession, SessionRefusedError
from noctule.bridges.remote import Dialler, Preparation
from noctule.bridges.restart_delays import RestartDelays
from noctule.bridges.span import Span
from noctule.bridges.topics import TopicMap
from noctule.client.errors import ClientError
from noctule.client.handshake import Established
from noctule.config.bridges import Notifications, ReloadType, StartType

_logger = logging.getLogger("noctule.bridges")


class Bridge:
    """``run`` until ``stop`` is called, or for a bridge that connects once, until it has ended."""

    def __init__(self, here: Here, preparation: Preparation) -> None:
        self._here = here
        self._next: Preparation | None = None
        self._span: Span | None = None
        self._is_stopping = False
        #: Set whenever there is something new to consider: other settings, or the end.
        self._wake = trio.Event()
        self.has_ended = trio.Event()
        self._last_text = ""
        # Which broker the session's identifiers agree with: the address that was connected last.
        self._agrees_with = ""
        self._doubtful: DoubtfulIdentifiers | None = None
        self._adopt(preparation)

    @property
    def preparation(self) -> Preparation:
        """What it goes by; after a reload that waits for the next connection, what it will go by."""
        return self._next if self._next is not None else self._preparation

    @property
    def name(self) -> str:
        """What it is called."""
        return self._preparation.settings.name

    @property
    def is_connected(self) -> bool:
        """Whether messages can cross now."""
        return self._span is not None and self._span.is_sound

    @property
    def address(self) -> str:
        """The address that it is connected to, or tries."""
        return str(self._preparation.routes[self._choice.current].address)

    def _adopt(self, preparation: Preparation) -> None:
        """Go by these settings."""
        settings = preparation.settings
        self._preparation = preparation
        self._dialler = Dialler(preparation)
        self._choice = AddressChoice(len(preparation.routes), is_round_robin=settings.round_robin)
        self._delays = RestartDelays(settings.restart_delay_s, settings.restart_delay_max_s)
        self._local = LocalSession(self._here, preparation, TopicMap(settings.topics))
        self._is_known = self._local.session is not None
        self._not_first_before = 0.0
        self._is_prepared = False
        self._rests = self._rests_first = False

    def change(self, preparation: Preparation) -> None:
        """Other settings: at once, or when it connects the next time, as they say. Files that were read again count
        for the next connection in any case."""
        if preparation.settings == self._preparation.settings:
            self._next = None
            self._preparation = preparation
            self._dialler = Dialler(preparation)
            return
        self._next = preparation
        if preparation.settings.reload is ReloadType.IMMEDIATE or not self.is_connected:
            self._interrupt("it has other settings")

    def stop(self) -> None:
        """Leave the other broker, and end ``run``."""
        self._is_stopping = True
        self._interrupt("it is stopped")

    def end_session(self, why: str) -> None:
        """Forget what waits for the bridge: it is not to come back."""
        self._here.end_session(self._local.client_id, why)

    def _interrupt(self, why: str) -> None:
        self._wake.set()
        if self._span is not None:
            self._span.end(why)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the bridge up. ``task_status`` is told when its session is there, and messages wait in it."""
        try:
            has_started = False
            while not self._is_stopping:
                self._take_next()
                is_ready = await self._prepare()
                if not has_started:
                    has_started = True
                    task_status.started()
                self._rests = True
                try:
                    if is_ready and await self._attempt():
                        return
                except Exception:  # it must not end the other bridges, nor the broker
                    _logger.exception("Bridge %s: an error of the broker's", self.name)
                    self._span = None
                if self._rests:
                    await self._rest()
        finally:
            self._tell_here(b"0")
            self.has_ended.set()

    def _take_next(self) -> None:
        self._wake = trio.Event()
        if self._next is None:
            return
        following, self._next = self._next, None
        before = self._preparation.settings
        if before.client_id_here != following.settings.client_id_here:
            self.end_session("its bridge has another client identifier now")
        if before.state_topic != following.settings.state_topic and before.notifications is not Notifications.NONE:
            self._here.publish(before.state_topic, b"", qos=1, retain=True)
        asked_for = self._local.stale_filters_there | self._local.topics.filters_there.keys()
        self._adopt(following)
        self._local.stale_filters_there = asked_for - self._local.topics.filters_there.keys()

    async def _prepare(self) -> bool:
        """Have the session; False where this broker does not let the bridge in."""
        if self._is_prepared and (self._local.session is not None or not self._local.is_kept):
            return True
        self._tell_here(b"0")
        try:
            await self._local.prepare()
        except SessionRefusedError as error:
            self._log(str(error))
            return False
        except Exception:
            _logger.exception("Bridge %s: an error of the broker's", self.name)
            return False
        self._is_prepared = True
        return True

    async def _attempt(self) -> bool:
        """Connect and carry, once; for a lazy bridge, when it is time. Whether the bridge is done for good."""
        settings = self._preparation.settings
        if settings.start is StartType.LAZY:
            await self._attempt_lazily()
            return False
        async with trio.open_nursery() as nursery:
            established = await self._connect(nursery)
            if established is not None:
                await self._carry(established, nursery, ())
            nursery.cancel_scope.cancel()
        if settings.start is StartType.ONCE:
            # It rests till it is stopped, or has other settings.
            await self._wake.wait()
            return self._is_stopping
        return False

    async def _attempt_lazily(self) -> None:
        settings = self._preparation.settings
        limits = self._here.state.settings.limits
        collection = Collection(
            self._local, self._preparation.version, min(settings.lazy_threshold, limits.inflight_max)
        )
        async with trio.open_nursery() as nursery:
            has_ended = trio.Event()

            async def collect() -> None:
                try:
                    await collection.run()
                except SessionRefusedError as error:
                    self._log(str(error))
                has_ended.set()

            nursery.start_soon(collect)
            if self._rests_first:
                await self._rest()
            self._rests_first = True
            await _first_of(collection.is_due, has_ended, self._wake)
            established = None
            while not (has_ended.is_set() or self._wake.is_set()) and established is None:
                established = await self._connect(nursery)
                if established is None:
                    await self._rest()
            collection.end()
            await has_ended.wait()
            if established is not None:
                await self._carry(established, nursery, collection.kept)
                # It rests while messages are collected.
                self._rests_first, self._rests = self._rests, False
            nursery.cancel_scope.cancel()

    async def _connect(self, nursery: trio.Nursery) -> Established | None:
        """A connection to the first address that accepts one; None, after each has been tried, where none does, and
        where there is something new to consider."""
        established: Established | None = None
        async with trio.open_nursery() as connecting:

            async def give_up() -> None:
                await self._wake.wait()
                connecting.cancel_scope.cancel()

            connecting.start_soon(give_up)
            established = await self._dial(nursery)
            connecting.cancel_scope.cancel()
        return established

    async def _dial(self, nursery: trio.Nursery) -> Established | None:
        while True:
            number = self._choice.current
            address = self._preparation.routes[number].address
            try:
                established = await self._dialler.connect(number, self._here.state.settings.limits, nursery)
            except ClientError as error:
                self._log(f"{address}: {error}")
                if self._choice.failed():
                    return None
            except Exception:
                _logger.exception("Bridge %s: an error of the broker's while it connects to %s", self.name, address)
                if self._choice.failed():
                    return None
            else:
                self._choice.connected()
                return established

    async def _carry(
        self, established: Established, nursery: trio.Nursery, early: "list[tuple[int, bytes]] | tuple[()]"
    ) -> None:
        """Carry messages over a connection until it ends."""
        number, settings = self._choice.current, self._preparation.settings
        self._agree(number, is_present=established.connack.session_present)
        span = self._span = Span(self._preparation, self._local, established, self._doubtful, early)
        if self._wake.is_set():
            span.end("it is interrupted")
        opened = trio.Event()
        began_at = trio.current_time()

        async def when_open() -> None:
            await opened.wait()
            self._last_text = ""
            _logger.info("Bridge %s: connected to %s", self.name, self.address)
            self._tell_here(b"1")

        async with trio.open_nursery() as watching:
            watching.start_soon(when_open)
            if self._choice.returns_to_first:
                watching.start_soon(self._look_for_first, span, nursery)
            if settings.start is StartType.LAZY:
                watching.start_soon(self._leave_when_idle, span)
            why = await span.run(opened)
            watching.cancel_scope.cancel()
        self._span = None
        self._rests = not span.is_followed_at_once
        lasted_s = trio.current_time() - began_at
        if span.has_opened:
            _logger.info("Bridge %s: no longer connected to %s: %s", self.name, self.address, why)
            self._tell_here(b"0")
        else:
            self._log(why)
        if lasted_s >= settings.restart_settled_s:
            self._delays.reset()
        elif number == 0:
            # Back on the first address and lost at once: it is not looked for again so soon.
            self._not_first_before = trio.current_time() + settings.restart_delay_max_s
        self._choice.lost()
        self._is_known = True

    def _agree(self, number: int, *, is_present: bool) -> None:
        """What is known of the packet identifiers that the other broker has in use."""
        address = str(self._preparation.routes[number].address)
        is_of_another = self._agrees_with != address and (self._agrees_with != "" or len(self._preparation.routes) > 1)
        if not is_present:
            self._doubtful = None
        elif is_of_another or not self._is_known:
            self._doubtful = DoubtfulIdentifiers()
        self._agrees_with = address

    async def _look_for_first(self, span: Span, nursery: trio.Nursery) -> None:
        """End the connection when the first address can be reached again."""
        settings = self._preparation.settings
        while True:
            await trio.sleep(settings.primary_retry_s)
            if trio.current_time() < self._not_first_before:
                continue
            try:
                stream = await self._dialler.open(0, nursery)
            except ClientError:
                continue
            await trio.aclose_forcefully(stream)
            span.end(f"it returns to {self._preparation.routes[0].address}", is_followed_at_once=True)
            return

    async def _leave_when_idle(self, span: Span) -> None:
        """End the connection when nothing has crossed for a while."""
        timeout_s = self._preparation.settings.idle_timeout_s
        while True:
            await trio.sleep_until(span.last_message_at + timeout_s)
            if trio.current_time() < span.last_message_at + timeout_s:
                continue
            session = self._local.session
            if session is None or not session.unacknowledged:
                span.end("nothing has crossed for a while", is_followed_at_once=True)
                return
            await trio.sleep(timeout_s)

    async def _rest(self) -> None:
        """Wait as long as it is time to, or until there is something new."""
        delay_s = self._delays.next_s()
        _logger.debug("Bridge %s: connects again in %.1f s", self.name, delay_s)
        with trio.move_on_after(delay_s):
            await self._wake.wait()

    def _tell_here(self, state: bytes) -> None:
        settings = self._preparation.settings
        if settings.notifications is Notifications.NONE:
            return
        try:
            self._here.publish(settings.state_topic, state, qos=1, retain=True)
        except ValueError as error:
            self._log(f"cannot tell whether it is connected: {error}")

    def _log(self, text: str) -> None:
        """What keeps it from being connected; the same is not said again and again."""
        if text == self._last_text:
            _logger.debug("Bridge %s: %s", self.name, text)
            return
        self._last_text = text
        _logger.warning("Bridge %s: %s", self.name, text)


async def _first_of(*events: trio.Event) -> None:
    """Return at the first of the events."""
    async with trio.open_nursery() as nursery:

        async def wait(one: trio.Event) -> None:
            await one.wait()
            nursery.cancel_scope.cancel()

        for event in events:
            nursery.start_soon(wait, event)
