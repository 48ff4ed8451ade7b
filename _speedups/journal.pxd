"""What has to be kept across a restart, collected as operations, and how far it has been."""

from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.message cimport Message

cdef enum JournalState:
    JOURNAL_OPEN = 0
    JOURNAL_LOW = 1         # little room is left: no messages are taken in, and those there are go out
    JOURNAL_FULL = 2        # there is no room: nothing more is put until there is
    JOURNAL_FAILED = 3      # nothing is kept any more

cdef class Journal:
    cdef list _operations               # of the batch that is being collected
    cdef readonly uint64_t ticket       # of that batch
    cdef readonly uint64_t committed    # the last batch that is kept
    cdef readonly uint64_t count        # operations in all so far
    cdef readonly size_t collected_bytes
    cdef size_t _taken_bytes
    cdef size_t _waiting_max_bytes
    cdef bint _must_sync
    cdef JournalState _state
    cdef public double wall_clock_ahead_s
    cdef uint64_t _next_message_id
    cdef uint64_t _next_session_id
    cdef uint64_t _next_position
    cdef object _wake
    cdef object _put_message, _drop_message, _put_session, _drop_session, _put_subscription, _drop_subscription
    cdef object _put_queued, _drop_queued, _put_received, _drop_received, _put_retained, _drop_retained
    cdef object _put_will, _drop_will
    cdef int _add_large(self, object kind, tuple row, size_t size_bytes) except -1
    cdef int _add(self, object kind, tuple row) except -1
    cdef uint64_t refer(self, Message message) except 0
    cdef uint64_t new_position(self) noexcept
    cdef int let_go(self, Message message) except -1
    cdef int put_queued(self, uint64_t session_id, uint64_t position, Message message, uint8_t qos, uint8_t flags,
                        uint16_t packet_id, bint is_released, bytes identifiers, bytes share_group) except -1
    cdef int drop_queued(self, uint64_t session_id, uint64_t position, Message message) except -1
    cdef int put_received(self, uint64_t session_id, uint16_t packet_id, Message message) except -1
    cdef int drop_received(self, uint64_t session_id, uint16_t packet_id, Message message) except -1
    cdef int put_subscription(self, uint64_t session_id, bytes topic_filter, bytes share_name, int qos, int options,
                              uint32_t identifier) except -1
    cdef int drop_subscription(self, uint64_t session_id, bytes topic_filter, bytes share_name) except -1
    cdef int put_retained(self, bytes topic, Message message) except -1
    cdef int drop_retained(self, bytes topic, Message message) except -1

cdef inline bint has_failed(Journal journal) noexcept:
    """Whether nothing is kept any more."""
    return journal._state == JOURNAL_FAILED

cdef inline bint is_usable(Journal journal) noexcept:
    """Whether what must be kept can be."""
    return journal._state <= JOURNAL_LOW

cdef inline bint takes_messages(Journal journal) noexcept:
    """Whether messages that must be kept are taken in."""
    return journal._state == JOURNAL_OPEN

cdef inline bint is_heavy(Journal journal) noexcept:
    """Whether so much waits to be kept that nobody should add to it."""
    return journal.collected_bytes + journal._taken_bytes > journal._waiting_max_bytes
