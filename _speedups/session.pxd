"""One session's delivery state: packet identifiers, what is in flight, what is queued, what QoS 2 has received."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.codec cimport Parts
from noctule._speedups.message cimport Message
from noctule._speedups.outlet cimport Outlet, Plane
from noctule._speedups.topics cimport Subscriber

# How a message is delivered, as bits.
cdef enum:
    DELIVER_RETAIN = 1      # with the RETAIN flag
    DELIVER_EXEMPT = 2      # retained messages for a new subscription: not counted against the queue's limits
    IN_WINDOW = 128         # of a flight: it was sent on this connection and counts in ``in_flight``

# What a delivery owes to the subscriptions it comes from; shared by all deliveries of a route's target.
cdef class Via:
    cdef bytes identifiers  # Subscription Identifiers as property bytes; may be empty
    cdef list parts         # of the identifiers, while a route is built
    cdef bytes group        # the filter tree's key of the share group that chose this session, or None

cdef struct Delivery:
    PyObject *message
    PyObject *via           # a Via, or NULL where there is nothing to say
    uint64_t position       # of its row in the store; 0: it has none
    uint8_t qos
    uint8_t flags

cdef enum FlightState:
    AWAIT_PUBACK = 1
    AWAIT_PUBREC = 2
    AWAIT_PUBCOMP = 3
    RECEIVED = 4            # a QoS 2 message of the peer's that has not been released

# One packet identifier in use. ``order`` tells which of two flights was sent first.
cdef struct Flight:
    PyObject *message
    PyObject *via
    uint64_t position       # of its row in the store; 0: it has none
    uint32_t order
    uint16_t packet_id      # 0: the slot is free
    uint8_t flags
    uint8_t state

cdef struct FlightTable:
    Flight *slots
    uint32_t count
    uint8_t bits            # the table has 2 ** bits slots

cdef int write_to(Outlet outlet, const Parts *message_parts, int qos, bint retain, bint dup, uint16_t packet_id,
                  uint32_t expiry_s, const unsigned char *extra, uint32_t extra_size) except -1

cdef Flight *find_flight(FlightTable *table, uint16_t packet_id) noexcept
cdef Flight *add_flight(FlightTable *table, uint16_t packet_id) except NULL
cdef void remove_flight(FlightTable *table, Flight *flight) noexcept
cdef void clear_flights(FlightTable *table) noexcept

# What the session makes of an acknowledgement.
cdef enum AckResult:
    ACK_TAKEN = 0
    ACK_FAILED = -1
    ACK_UNKNOWN = 1         # no such packet identifier in flight
    ACK_WRONG = 2           # the identifier belongs to a flow of another kind

@cython.no_gc
cdef class Session(Subscriber):
    cdef readonly str client_id
    cdef public object owner
    cdef public object will
    cdef public uint64_t store_id       # its number in the store; 0: it is not kept
    cdef uint64_t _position             # of the last row of its queue
    cdef object _client                 # who it is, as plugins are told; of a plain client made when it is asked for
    cdef bint is_plain                  # its CONNECT was handled by the shortcut
    cdef object rules                   # ``access``
    cdef uint64_t rules_number          # of these rules of this session's: no other session's, and none before, had it
    cdef public uint32_t expiry_interval_s
    cdef public double ends_at          # of a session without connection, on the broker's clock
    cdef public double will_due_at      # of a Will that is delayed
    cdef readonly Outlet outlet
    cdef Plane plane
    cdef FlightTable sent
    cdef FlightTable received
    cdef list _unanswered               # packet identifiers whose PUBREC is held back, or None
    cdef Delivery *_queue               # a ring
    cdef uint32_t _queue_capacity       # a power of two, or 0
    cdef uint32_t _queue_head
    cdef readonly uint32_t queued
    cdef uint32_t exempt                # of the queued: those not counted against the limits
    cdef uint32_t queued_qos0           # of the queued: those of QoS 0
    cdef readonly uint64_t queued_bytes
    cdef public uint32_t queue_max_messages     # of its own; 0: as for every session
    cdef public uint64_t queue_max_bytes
    cdef uint16_t *_resend              # packet identifiers to send again, in order
    cdef uint32_t _resend_count
    cdef uint32_t _resend_next
    cdef readonly size_t sent_bytes     # of the messages in flight
    cdef readonly size_t received_bytes # of the messages that wait for their PUBREL
    cdef uint32_t window                # how many QoS 1 and 2 messages may be unacknowledged
    cdef readonly uint32_t in_flight    # how many are, on this connection
    cdef uint32_t _order
    cdef uint16_t _last_packet_id
    cdef uint32_t receive_maximum       # of ours, as the peer was told
    cdef readonly uint32_t dropped
    cdef uint64_t route_mark            # router: the route being built that has this session already
    cdef uint32_t route_index
    cdef void set_up(self, Plane plane, str client_id) noexcept
    cdef int attach_to(self, Outlet outlet, uint32_t receive_maximum) except -1
    cdef int leave(self) except -1
    cdef int discard(self) except -1
    cdef void _drop_queue(self) noexcept
    cdef void _drop_queued_qos0(self) noexcept
    cdef int deliver(self, Message message, uint8_t qos, uint8_t flags, PyObject *via) except -1
    cdef int _enqueue(self, Message message, uint8_t qos, uint8_t flags, PyObject *via) except -1
    cdef int _append(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint64_t position) except -1
    cdef uint64_t _keep(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint16_t packet_id,
                        uint64_t position) except 0
    cdef bint _may_not_begin(self) noexcept
    cdef int _tell_sent(self, Message message, int written) except -1
    cdef int _send(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint64_t position) except -1
    cdef int _write(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint16_t packet_id,
                    bint dup) except -1
    cdef int _send_again(self) except -1
    cdef list take_shared(self)
    cdef uint16_t _next_packet_id(self) noexcept
    cdef int pump(self) except -1
    cdef int _landed(self, Flight *flight) except -1
    cdef AckResult puback(self, uint16_t packet_id) except ACK_FAILED
    cdef AckResult pubrec(self, uint16_t packet_id, bint refused) except ACK_FAILED
    cdef AckResult pubcomp(self, uint16_t packet_id) except ACK_FAILED
    cdef int hold(self, uint16_t packet_id, Message message) except -1
    cdef int _hold(self, uint16_t packet_id, Message message) except -1
    cdef int _let_go_messages(self) except -1
    cdef bint answer_later(self, uint16_t packet_id) except -1
    cdef uint16_t next_answer(self) except? 0
    cdef bint may_receive(self, Message message) except -1
    cdef Message held(self, uint16_t packet_id)
    cdef Message release(self, uint16_t packet_id)

cdef bint ask_may_receive(Session session, bytes topic) except -1

cdef inline bint qos0_waits(Session session) noexcept:
    """Whether QoS 0 has to go through the queue: behind retained messages, or behind QoS 0 that did."""
    return session.exempt != 0 or session.queued_qos0 != 0

cdef inline bint window_is_open(Session session) noexcept:
    """Whether another QoS 1 or 2 message may be sent: in number, and in bytes that are kept for a repetition."""
    return session.in_flight < session.window and session.sent_bytes < session.plane.queue_max_bytes

cdef inline bint has_backlog(Session session) noexcept:
    return session.queued != 0 or session._resend != NULL
