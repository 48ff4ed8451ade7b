"""Filters, one in another: what a connection goes through between its socket and its link (WebSocket within TLS).

What a filter is says ``noctule._speedups.link.Filter``. Filters know no socket and no stream: the reactor and the
streams drive the same ones.
"""

from collections.abc import Callable
from typing import Protocol

from noctule._speedups.link import Link

#: Called by the innermost filter of a connection when its handshake is done.
Established = Callable[[], object]


class Filter(Protocol):
    """``noctule._speedups.link.Filter``, which exists in type checking alone."""

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]: ...

    def to_send(self, data: bytes) -> bytes: ...

    def end(self) -> bytes: ...


class Layers:
    """Two filters as one: what comes goes through ``outer`` first."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, outer: Filter, inner: Filter) -> None:
        self._outer = outer
        self._inner = inner

    def received(self, link: Link, data: bytes) -> tuple[bytes, bytes, str | None]:
        """As a filter has it."""
        plain, answer, fault = self._outer.received(link, data)
        if not plain:
            return b"", answer, fault
        plain, inner_answer, inner_fault = self._inner.received(link, plain)
        if inner_answer:
            answer += self._outer.to_send(inner_answer)
        return plain, answer, inner_fault if fault is None else fault

    def to_send(self, data: bytes) -> bytes:
        """As a filter has it."""
        return self._outer.to_send(self._inner.to_send(data))

    def end(self) -> bytes:
        """As a filter has it."""
        last = self._inner.end()
        return (self._outer.to_send(last) if last else b"") + self._outer.end()
