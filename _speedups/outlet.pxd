"""The write side of a connection, and what one turn of the data plane has touched."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.buffers cimport BufferPool, Cursor, WriteBuffer, pending
from noctule._speedups.deadlines cimport Deadlines, Timed
from noctule._speedups.journal cimport Journal

# Plain integers, counted where the event is; read by whoever reports them.
cdef struct Counters:
    uint64_t bytes_received
    uint64_t bytes_sent
    uint64_t packets_received[16]       # by packet type
    uint64_t packets_sent[16]
    uint64_t sockets_opened             # connections that were accepted, whatever came of them
    uint64_t publish_bytes_received     # payload bytes
    uint64_t publish_bytes_sent
    uint64_t dropped_slow_reader        # QoS 0 past a link's write limit
    uint64_t dropped_offline            # QoS 0 for a session that is not connected
    uint64_t dropped_queue_full         # past a session's queue limits
    uint64_t dropped_expired            # Message Expiry Interval ran out in a queue
    uint64_t dropped_denied             # not allowed to its publisher or its receiver
    uint64_t dropped_too_large          # above the receiver's Maximum Packet Size

# Packets of clients about whom nothing is to be decided, handled without the handlers (plain.pyx). Each call answers 1,
# or 0: nothing has happened, and the handler is to be asked. ``link`` is a Link, which this module does not know.
cdef class Shortcut:
    cdef bint connect(self, Outlet link, const Cursor *body) except -1
    cdef bint packet(self, Outlet link, uint8_t first, const Cursor *body) except -1
    cdef object describe(self, Outlet link, str client_id)

cdef class Plane:
    cdef public Shortcut shortcut       # asked before a link's handler is; None: nobody is
    cdef BufferPool pool
    cdef public Journal journal         # what has to be kept across a restart; None: nothing is
    cdef list _held_back                # outlets with bytes that wait until a batch of the journal is kept
    cdef list _stalled                  # links whose packets wait until less does
    cdef readonly Deadlines deadlines
    cdef Counters counters
    cdef readonly double now
    cdef size_t write_max_bytes
    cdef size_t packet_max_bytes
    cdef size_t connect_max_bytes
    cdef uint32_t queue_max_messages
    cdef size_t queue_max_bytes
    cdef uint32_t inflight_max
    cdef uint32_t receive_maximum
    cdef uint64_t retained_max          # 0: any number
    cdef uint16_t alias_max_in
    cdef uint16_t alias_max_out
    cdef int levels_max
    cdef uint32_t subscriptions_max             # of one session
    cdef uint64_t filter_levels_max             # of all its filters together
    cdef PyObject **_dirty
    cdef Py_ssize_t _dirty_count
    cdef Py_ssize_t _dirty_capacity
    cdef bint _is_flushing
    cdef uint64_t rules_count                   # ``access`` of sessions that have been set
    cdef public bint is_deciding                # code that is asked for an access decision, or that watches, runs
    # Whoever watches, as functions; None: nobody. They raise nothing and change nothing here.
    cdef readonly object message_received   # (link, message) -> another message, or a reason code: it goes nowhere
    cdef readonly object message_published  # (session or None, message)
    cdef readonly object message_delivered  # (session, message)
    cdef readonly object message_dropped    # (session or None, message, reason)
    cdef readonly object retained_changed   # (topic, message or None)
    cdef readonly object packet_received    # (link, packet)
    cdef readonly object packet_sent        # (link, packet)
    cdef bint sees_messages             # somebody watches single messages: there are no runs
    cdef int tell(self, object watcher, object first, object second) except -1
    cdef int tell_dropped(self, object session, object message, str reason) except -1
    cdef int _trace(self, Outlet outlet) except -1
    cdef int mark(self, Outlet outlet) except -1
    cdef int flush_dirty(self) except -1

# What one Topic Alias of the peer's stands for now.
cdef struct AliasSlot:
    unsigned char *topic
    uint16_t size
    bint is_recent          # used since it was last passed over

@cython.no_gc
cdef class Outlet(Timed):
    cdef AliasSlot *aliases             # [alias - 1]; NULL where the peer takes none
    cdef uint16_t alias_count
    cdef bytes mount                    # what every topic of the peer's begins with, unseen by it; None: nothing
    cdef Plane plane
    cdef WriteBuffer out
    cdef bytes lent                     # what ``out`` refers to in place of memory of its own; None: it has its own
    cdef uint32_t packet_max            # of the peer: its Maximum Packet Size
    cdef uint8_t layout                 # codec.Layout
    cdef bint takes_as_is               # received bytes of its layout may be sent as they are: no size limit, no aliases
    cdef bint is_dirty
    cdef public uint8_t durability      # 0: acknowledgements wait for nothing, 1: for the system, 2: for the disk
    cdef readonly uint64_t written      # bytes in all so far: the position of the end of ``out``
    cdef readonly uint64_t publishes_sent
    cdef uint64_t hold_positions[2]     # what stands from there on waits until the batch of this ticket is kept
    cdef uint64_t hold_tickets[2]
    cdef uint8_t hold_count
    cdef size_t untraced                # bytes at the end of ``out`` that ``Plane.packet_sent`` has not seen
    cdef int allow_aliases(self, uint16_t count) except -1
    cdef uint16_t alias_of(self, const unsigned char *topic, uint16_t size, bint *is_known) noexcept
    cdef int make_room(self, size_t size) except -1
    cdef unsigned char *room(self, size_t size) except NULL
    cdef int lend(self, bytes data) except -1
    cdef void empty(self) noexcept
    cdef int hold_back(self, bint must_sync) except -1
    cdef int let_go(self, uint64_t committed) except -1
    cdef size_t send_now(self, const unsigned char *data, size_t size) noexcept
    cdef int flush(self) except -1

cdef inline int refuse_while_deciding(Plane plane) except -1:
    """An access decision is asked for in the middle of a message: it may look, and change nothing."""
    if plane.is_deciding:
        raise RuntimeError("an access decision must not change sessions, subscriptions or connections, nor publish")
    return 0


cdef inline size_t sendable(Outlet outlet) noexcept:
    """How many of the bytes that are written may be sent now: what comes behind waits for the journal."""
    cdef size_t waiting = pending(&outlet.out)
    if outlet.hold_count == 0:
        return waiting
    return <size_t>(outlet.hold_positions[0] - (outlet.written - waiting))
