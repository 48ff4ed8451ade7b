"""A network between a bridge and its other broker that can be cut, and that notes what is acknowledged over it."""

from contextlib import suppress
from dataclasses import dataclass, field

import trio
from noctule._speedups.codec import FrameScanner, decode_ack, decode_publish
from noctule.protocol import PacketType, ProtocolVersion


@dataclass
class Relay:
    """``serve`` in a task: connections to its port go on to ``target_port``."""

    target_port: int
    version: ProtocolVersion
    port: int = 0
    is_cut: bool = False

    #: Payloads of messages that the bridge has sent and the other broker has acknowledged.
    acknowledged: set[bytes] = field(default_factory=set)
    #: Whether the other broker has accepted a subscription of the bridge's.
    is_subscribed: bool = False
    connections: int = 0
    _scopes: set[trio.CancelScope] = field(default_factory=set)

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Carry until cancelled."""
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, self._carry, 0)
            self.port = listeners[0].socket.getsockname()[1]
            task_status.started()

    def cut(self) -> None:
        """Break every connection; none is taken until ``mend``."""
        self.is_cut = True
        for scope in self._scopes:
            scope.cancel()

    def mend(self) -> None:
        """Connections are taken again."""
        self.is_cut = False

    async def _carry(self, near: trio.SocketStream) -> None:
        if self.is_cut:
            return
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.target_port)
        except OSError:
            return
        self.connections += 1
        sent: dict[int, bytes] = {}
        async with trio.open_nursery() as nursery:
            self._scopes.add(nursery.cancel_scope)
            try:
                nursery.start_soon(self._pump, near, far, sent, True, nursery.cancel_scope)
                await self._pump(far, near, sent, False, nursery.cancel_scope)
            finally:
                self._scopes.discard(nursery.cancel_scope)
                for stream in (near, far):
                    with trio.CancelScope(shield=True):
                        await trio.aclose_forcefully(stream)

    async def _pump(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        sent: dict[int, bytes],
        is_from_bridge: bool,
        scope: trio.CancelScope,
    ) -> None:
        scanner = FrameScanner()
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some():
                for first, body in scanner.feed(data):
                    self._note(first, body, sent, is_from_bridge)
                await target.send_all(data)
        scope.cancel()

    def _note(self, first: int, body: bytes, sent: dict[int, bytes], is_from_bridge: bool) -> None:
        if is_from_bridge and first >> 4 == PacketType.PUBLISH and first & 0x06:
            message = decode_publish(first, body, self.version)
            sent[message.packet_id] = message.payload
        elif not is_from_bridge and first >> 4 == PacketType.SUBACK:
            self.is_subscribed = True
        elif not is_from_bridge and first >> 4 in (PacketType.PUBACK, PacketType.PUBREC):
            ack = decode_ack(first, body, self.version)
            if ack.packet_id in sent and ack.reason_code < 0x80:
                self.acknowledged.add(sent[ack.packet_id])
