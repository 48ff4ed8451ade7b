"""Counts what sessions and links hold at this moment, so that nothing has to be counted when it changes."""

from noctule._speedups.link cimport Link
from noctule._speedups.session cimport Session


def count_sessions(list sessions not None, Py_ssize_t start, Py_ssize_t stop):
    """Sums over a slice of sessions; see ``census.pyi``. A slice, so that the caller can let others work in between."""
    cdef Py_ssize_t i
    cdef Session session
    cdef unsigned long long connected = 0, queued = 0, queued_bytes = 0
    cdef unsigned long long in_flight = 0, in_flight_bytes = 0, held = 0, held_bytes = 0, dropped = 0
    for i in range(start, min(stop, len(sessions))):
        session = <Session?>sessions[i]
        connected += session.outlet is not None
        queued += session.queued
        queued_bytes += session.queued_bytes
        in_flight += session.sent.count
        in_flight_bytes += session.sent_bytes
        held += session.received.count
        held_bytes += session.received_bytes
        dropped += session.dropped
    return connected, queued, queued_bytes, in_flight, in_flight_bytes, held, held_bytes, dropped


def count_pending(list links not None, Py_ssize_t start, Py_ssize_t stop):
    """The bytes that a slice of links has written and not sent."""
    cdef Py_ssize_t i
    cdef Link link
    cdef unsigned long long pending_bytes = 0
    for i in range(start, min(stop, len(links))):
        link = <Link?>links[i]
        pending_bytes += link.out.end - link.out.start
    return pending_bytes
