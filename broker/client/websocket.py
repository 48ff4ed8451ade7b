"""MQTT in WebSocket frames (6.0), as a stream of bytes like any other; trio-websocket does the frames."""

from collections.abc import Awaitable, Callable

import trio
import trio_websocket
from noctule.client.errors import UnreachableError

#: The sub-protocol of every version since 3.1.1 [MQTT-6.0.0-3].
_SUBPROTOCOL = "mqtt"

#: Frames may cut packets anywhere, and a server may put many into one message: this is no limit of MQTT's.
_MESSAGE_MAX_BYTES = 268_435_460


class WebSocketStream(trio.abc.Stream):
    """The bytes of a WebSocket connection."""

    def __init__(self, connection: trio_websocket.WebSocketConnection, below: trio.abc.Stream) -> None:
        self._connection = connection
        self._below = below
        self._rest = b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send the bytes as one binary message [MQTT-6.0.0-1]."""
        try:
            await self._connection.send_message(bytes(data))
        except trio_websocket.ConnectionClosed:
            raise trio.BrokenResourceError("the WebSocket connection is closed") from None

    async def wait_send_all_might_not_block(self) -> None:
        """Nothing to wait for that could be known."""
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes; empty at the end."""
        while not self._rest:
            try:
                message = await self._connection.get_message()
            except trio_websocket.ConnectionClosed:
                return b""
            if isinstance(message, str):  # [MQTT-6.0.0-1]
                raise trio.BrokenResourceError("the server sent a text frame")
            self._rest = message
        data = self._rest if max_bytes is None else self._rest[:max_bytes]
        self._rest = self._rest[len(data) :]
        return data

    async def aclose(self) -> None:
        """Close what is below; the other side sees the end of the connection."""
        await self._below.aclose()


async def open_websocket(
    below: trio.abc.Stream,
    host: str,
    path: str,
    *,
    task_status: trio.TaskStatus[WebSocketStream] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Speak WebSocket over ``below``, as a task of a nursery; ``task_status`` is told the stream.

    Ends when the connection does. Raises UnreachableError before that if the server will not have it.
    """
    is_open = False
    scope = trio.CancelScope()
    try:
        with scope:
            async with trio.open_nursery() as nursery:
                connection: trio_websocket.WebSocketConnection | None = None
                with trio.CancelScope() as handshake:
                    connection = await trio_websocket.wrap_client_stream(
                        _ReaderNursery(nursery, handshake),  # type: ignore[arg-type]  # all that it needs of one
                        below,  # type: ignore[arg-type]  # any stream will do
                        host,
                        path,
                        subprotocols=[_SUBPROTOCOL],
                        max_message_size=_MESSAGE_MAX_BYTES,
                        receive_buffer_size=None,
                    )
                accepted = _check(connection)
                is_open = True
                # From here on the stream's end ends this task: a client that is cancelled says goodbye first.
                scope.shield = True
                task_status.started(WebSocketStream(accepted, below))
    except Exception as error:
        # Once it is open its end is told by the stream, and nothing that a server does may end more than that.
        if not is_open:
            raise UnreachableError(f"no WebSocket connection: {_first_of(error)}") from None
    finally:
        await trio.aclose_forcefully(below)


class _ReaderNursery:
    """Starts trio-websocket's reading task, and ends the wait for the handshake when that task has ended.

    Without it a server that hangs up in the middle of the handshake would be waited for.
    """

    def __init__(self, nursery: trio.Nursery, handshake: trio.CancelScope) -> None:
        self._nursery = nursery
        self._handshake = handshake

    def start_soon(self, read: Callable[[], Awaitable[object]]) -> None:
        self._nursery.start_soon(self._run, read)

    async def _run(self, read: Callable[[], Awaitable[object]]) -> None:
        await read()
        self._handshake.cancel()


def _check(connection: trio_websocket.WebSocketConnection | None) -> trio_websocket.WebSocketConnection:
    if connection is None or connection.closed is not None:
        raise UnreachableError("the server does not speak WebSocket")
    if connection.subprotocol != _SUBPROTOCOL:  # [MQTT-6.0.0-4]
        raise UnreachableError("the WebSocket server does not speak MQTT")
    return connection


def _first_of(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, trio_websocket.ConnectionRejected):
        return f"HTTP status {error.status_code}"
    return str(error) or type(error).__name__
