"""How a client is opened: by a URL, or over a stream that is there already."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

import trio
from noctule.client.address import Address, parse_address
from noctule.client.authentication import AuthenticationMethod
from noctule.client.client import Client
from noctule.client.connection import GOODBYE_S
from noctule.client.errors import ClientError, UnreachableError
from noctule.client.handshake import Established, shake_hands
from noctule.client.mailbox import MESSAGE_BUFFER
from noctule.client.reconnecting import BackOff, Reconnect, is_final
from noctule.client.session import Repair, Session
from noctule.client.socks import Proxy
from noctule.client.tls import TlsOptions
from noctule.client.transports import Route, open_stream, route_to
from noctule.protocol import CAPABILITIES, Connect, Disconnect, ProtocolVersion, Will, encode_connect

#: How long an answer of the server's is waited for where the caller has not said, in seconds. Well above what a
#: server needs to sync its disk under load, well below what a person takes for a hang.
ANSWER_TIMEOUT_S: Final = 30.0

#: How long a session of version 5 outlives a connection that is to be made again, where the caller has not said. On
#: the way out the server is told to forget it.
SESSION_EXPIRY_S: Final = 3_600


@asynccontextmanager
async def open_client(
    stream: trio.abc.Stream,
    request: Connect,
    *,
    authentication: AuthenticationMethod | None = None,
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> AsyncIterator[Client]:
    """Speak MQTT over ``stream``, of whatever kind, as ``request`` says; the stream is closed in every case.

    Gives the client once the server has accepted it. There is no second connection: with the stream it ends. On the
    way out everything that was published is sent, then DISCONNECT, so that the Will is not published; where the block
    is cancelled that has ``GOODBYE_S`` at most.

    Raises RefusedError if the server refuses, NoAnswerError if it is silent for ``timeout_s``, DisconnectedError if
    it hangs up or breaks the protocol, ValueError if ``request`` cannot be written: the caller's fault. At the end
    of the block DisconnectedError or NoAnswerError if messages of QoS 0 are left that could not be sent.
    """

    async def open_first(_nursery: trio.Nursery) -> Session:
        return Session(await shake_hands(stream, request, authentication, timeout_s), timeout_s, None, Disconnect())

    async with _opened(open_first, timeout_s) as session:
        yield Client(session, authentication)


@asynccontextmanager
async def connect(
    url: str | Address,
    *,
    client_id: str = "",
    version: int = ProtocolVersion.V5,
    clean_start: bool = True,
    keep_alive_s: int = 60,
    user_name: str | None = None,
    password: bytes | str | None = None,
    will: Will | None = None,
    session_expiry_interval_s: int | None = None,
    receive_maximum: int = MESSAGE_BUFFER,
    maximum_packet_size: int | None = None,
    topic_alias_maximum: int = 0,
    request_response_information: bool = False,
    request_problem_information: bool = True,
    user_properties: Iterable[tuple[str, str]] = (),
    authentication: AuthenticationMethod | None = None,
    tls: ssl.SSLContext | TlsOptions | None = None,
    proxy: Proxy | None = None,
    local_address: str | None = None,
    reconnect: Reconnect | None = Reconnect(),  # noqa: B008  # it cannot be changed
    timeout_s: float = ANSWER_TIMEOUT_S,
) -> AsyncIterator[Client]:
    """Connect to a server; a connection that is lost is made again, until the block is left.

    ``url``: ``mqtt://host:1883``, ``mqtts://``, ``ws://host/path``, ``wss://`` or ``unix:///path``; user name and
    password may stand in it. ``version``: 3, 4 or 5 (``ProtocolVersion``). ``timeout_s`` bounds each connection with
    the server's answer to CONNECT, and each answer after it. ``tls`` and ``authentication`` as their classes say;
    ``reconnect=None`` ends with the first connection.

    The session: with ``clean_start`` an old one is thrown away first. In version 5 it outlives a lost connection by
    ``session_expiry_interval_s``; None: for ``SESSION_EXPIRY_S``, and not at all once the block is left. Below version
    5 the session ends with each connection, unless ``clean_start`` is False: then it is kept for good, and needs a
    ``client_id``. Where a session was kept, messages of QoS 1 and 2 go on where they stood; where it was lost,
    subscriptions are made again.

    Raises UnreachableError if there is no connection, ValueError for what cannot be asked for, OSError for a file
    that cannot be read, and what ``open_client`` raises.
    """
    address = parse_address(url) if isinstance(url, str) else url
    known_version = ProtocolVersion(version)
    has_properties = CAPABILITIES[known_version].has_properties
    goodbye = Disconnect()
    if session_expiry_interval_s is None:
        session_expiry_interval_s = SESSION_EXPIRY_S if has_properties and reconnect is not None else 0
        if session_expiry_interval_s:
            goodbye = Disconnect(session_expiry_interval_s=0)
    if user_name is None:
        user_name = address.user_name
    if password is None:
        password = address.password
    request = Connect(
        version=known_version,
        client_id=client_id,
        clean_start=clean_start,
        keep_alive_s=keep_alive_s,
        will=will,
        user_name=user_name,
        password=password.encode() if isinstance(password, str) else password,
        session_expiry_interval_s=session_expiry_interval_s,
        receive_maximum=receive_maximum,
        maximum_packet_size=maximum_packet_size,
        topic_alias_maximum=topic_alias_maximum,
        request_response_information=request_response_information,
        request_problem_information=request_problem_information,
        user_properties=tuple(user_properties),
    )
    encode_connect(request)  # ValueError before anything is asked of the network
    route = route_to(address, tls, proxy, local_address)

    async def open_first(nursery: trio.Nursery) -> Session:
        async def open_one(one: Connect) -> Established:
            return await _establish(route, one, nursery, authentication, timeout_s)

        established = await _first(open_one, request, reconnect)
        repair = None if reconnect is None else Repair(reconnect, open_one)
        return Session(established, timeout_s, repair, goodbye)

    async with _opened(open_first, timeout_s) as session:
        yield Client(session, authentication)


@asynccontextmanager
async def _opened(open_first: Callable[[trio.Nursery], Awaitable[Session]], timeout_s: float) -> AsyncIterator[Session]:
    """The session, for as long as the block lasts, and the tasks that carry it."""
    # The nursery is left by hand so that what the caller's block raises comes out as it is, not in a group:
    # the tasks raise nothing, but for our own mistakes.
    manager = trio.open_nursery()
    nursery = await manager.__aenter__()
    session: Session | None = None
    try:
        session = await open_first(nursery)
        nursery.start_soon(session.run)
        yield session
        await session.leave(timeout_s)
        session.check_all_sent()
    except (Exception, BaseExceptionGroup, trio.Cancelled, KeyboardInterrupt):
        if session is not None:
            with trio.CancelScope(shield=True):
                await session.leave(GOODBYE_S)
        raise
    finally:
        if session is not None:
            session.end()
        await manager.__aexit__(None, None, None)


async def _first(
    open_one: Callable[[Connect], Awaitable[Established]], request: Connect, policy: Reconnect | None
) -> Established:
    """The first connection; tried again only where the caller wants that."""
    if policy is None or not policy.retry_first:
        return await open_one(request)
    back_off = BackOff(policy)
    began_at = trio.current_time()
    while True:
        try:
            return await open_one(request)
        except ClientError as error:
            tried_s = trio.current_time() - began_at
            if is_final(error) or (policy.give_up_after_s is not None and tried_s >= policy.give_up_after_s):
                raise
        await trio.sleep(back_off.next_delay_s())


async def _establish(
    route: Route,
    request: Connect,
    nursery: trio.Nursery,
    authentication: AuthenticationMethod | None,
    timeout_s: float,
) -> Established:
    """Open the stream and shake hands, each within ``timeout_s``."""
    try:
        with trio.fail_after(timeout_s):
            stream = await open_stream(route, nursery)
    except trio.TooSlowError:
        raise UnreachableError(f"{route.address} cannot be reached within {timeout_s:g} s") from None
    return await shake_hands(stream, replace(request), authentication, timeout_s)
