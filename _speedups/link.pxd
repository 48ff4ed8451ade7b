"""One connection's protocol state: bytes in, packets handled or handed out, bytes out."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.buffers cimport Cursor, WriteBuffer
from noctule._speedups.codec cimport CheckedProperties, Fault, Frame, PublishFields
from noctule._speedups.message cimport Message
from noctule._speedups.outlet cimport Outlet
from noctule._speedups.router cimport Route, Router
from noctule._speedups.session cimport Session

cdef enum:              # states of a link
    LINK_NEW = 0        # nothing but CONNECT is accepted
    LINK_DECIDING = 1   # CONNECT is read, its CONNACK not sent: nothing but AUTH and DISCONNECT is accepted
    LINK_OPEN = 2
    LINK_ENDING = 3     # what is written is sent, what comes in is thrown away
    LINK_CLOSED = 4

# PUBLISH packets that lie one behind the other, of one topic, and may be delivered in one copy.
cdef struct Run:
    const unsigned char *start
    const unsigned char *end
    uint32_t count
    size_t payload_bytes
    CheckedProperties checked

@cython.no_gc
cdef class Link(Outlet):
    cdef readonly Router router
    cdef readonly Session session
    cdef object handler
    cdef public object wake
    cdef public object connection       # what the handlers know of it: version, user name, ...
    cdef str _peer                      # how the other side is called in the log; None: as its address and port
    cdef uint16_t _peer_port
    cdef public object origin           # where the connection comes from (core.origin.Origin), or None
    cdef public object filter           # what stands between the wire and the packets (TLS, WebSocket), or None
    cdef int _route_rights              # of the last topic published to
    cdef Message _changed               # what a plugin has made of the PUBLISH that is to be handled again, or None
    cdef bint _is_shown                 # the packet that is to be handled again was shown to ``packet_received``
    cdef set _dropped_ids               # of QoS 2 messages that went nowhere, which the peer is to release all the same
    cdef list _aliases                  # [Topic Alias] -> topic name in bytes, or None
    cdef Route _route                   # of the last topic published to
    cdef WriteBuffer rest               # of a packet that is not whole yet
    cdef double last_received
    cdef readonly double opened_at      # when CONNECT was accepted, on the broker's clock
    cdef readonly uint64_t received     # bytes in all so far
    cdef readonly uint64_t publishes_received
    cdef readonly uint16_t keep_alive_s
    cdef readonly uint8_t state
    cdef readonly bint is_paused
    cdef readonly bint has_more         # whole packets wait in ``rest`` for their turn (``go_on``)
    cdef uint32_t packet_max_in         # what the peer was told, and so may send, whatever the limits are now
    cdef uint16_t alias_max_in
    cdef uint8_t qos_max                # of what the peer may publish here
    cdef int _control_packets           # handed to the handler in this go
    cdef bint _takes_dup                # 3.1: PUBREL, SUBSCRIBE and UNSUBSCRIBE may be sent again with DUP
    cdef readonly bint is_stalled       # so much waits for the journal that nothing more is handled
    cdef uint64_t _journal_count        # operations of the journal before the packet that is being handled
    cdef bint _is_parsing
    cdef bint _acknowledged             # something has left the window in this feed
    cdef int set_up(self, Router router, object handler, object origin) except -1
    cdef int start(self, Session session, int version, uint16_t keep_alive_s, uint32_t receive_maximum,
                   uint32_t packet_max, uint16_t alias_max) except -1
    cdef int shut(self) except -1
    cdef int _untie(self, bint remembers_client) except -1
    cdef int take(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _handle(self, const unsigned char *data, Py_ssize_t size) except -1
    cdef int _complete_rest(self, Cursor *cursor) except -1
    cdef bint _size_allowed(self, const Frame *frame) except -1
    cdef int _parse(self, Cursor *cursor) except -1
    cdef int _packet(self, Frame *frame, const unsigned char *start, Run *run) except -1
    cdef int _rights_on(self, Route route) except -1
    cdef int _judge(self, Route route) except -1
    cdef int _denied(self, PublishFields *fields, Message message) except -1
    cdef int _accept(self, PublishFields *fields, Message message, Route route) except -1
    cdef int _publish_changed(self, PublishFields *fields) except -1
    cdef bint _cannot_be_retained(self, PublishFields *fields, Message message) except -1
    cdef bint _may_hold_more(self, Fault *fault) noexcept
    cdef int _cannot_keep(self, PublishFields *fields) except -1
    cdef Message _mounted(self, Message message, Fault *fault)
    cdef int _dropped(self, PublishFields *fields, int reason_code) except -1
    cdef int _resolve_alias(self, PublishFields *fields, Fault *fault) except -1
    cdef int _publish(self, Frame *frame, const unsigned char *start, Run *run) except -1
    cdef int _acknowledgement(self, Frame *frame) except -1
    cdef int _flush_run(self, Run *run) except -1
    cdef int _keep(self, const unsigned char *data, size_t size) except -1
    cdef int _acknowledge(self, int packet_type, uint16_t packet_id, uint8_t reason_code) except -1
    cdef int _refuse(self, Fault *fault) except -1
    cdef int gone(self, str cause) except -1
    cdef int release_transport(self) except -1
    cdef void _drop_buffers(self) noexcept
