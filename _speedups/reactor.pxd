"""One epoll set for all plain sockets: read, feed, flush what is dirty."""

cimport cython
from cpython.object cimport PyObject
from libc.stdint cimport uint32_t, uint64_t

from noctule._speedups.link cimport Link
from noctule._speedups.outlet cimport Plane
from noctule._speedups.resting cimport Resting
from noctule._speedups.router cimport Router

@cython.no_gc
cdef class SocketLink(Link):
    cdef Reactor reactor
    cdef int fd
    cdef bint _wants_write          # the kernel's buffer is full: flush when epoll says so
    cdef bint _reads                # the epoll set reports what comes in
    cdef bytes _wire                # with a filter: what goes over the wire and has not gone yet, or None
    cdef Py_ssize_t _wire_at        # how much of it has gone
    cdef public object on_release   # called once, when the socket is closed
    cdef uint32_t _received_as      # which reception of the reactor's its last was
    cdef bint _may_read(self) noexcept
    cdef int _receive(self) except -1
    cdef int _send_pending(self) except -1
    cdef int _set_interest(self, bint reads, bint writes) except -1
    cdef int _finish(self) except -1
    cdef Py_ssize_t _wire_left(self) noexcept
    cdef int _receive_filtered(self, bytes data) except -1
    cdef int _flush_filtered(self) except -1
    cdef int _encode(self) except -1
    cdef int _append_wire(self, bytes data) except -1
    cdef int _send_wire(self) except -1
    cdef int _last_words(self) except -1

cdef class Watch:
    cdef object callback
    cdef bint is_watched

cdef class Door(Watch):
    cdef int fd
    cdef Router router
    cdef object handler
    cdef set links
    cdef object _origin_of
    cdef object _connect_timeout_s
    cdef object _failed
    cdef int _burst                 # connections accepted before the other sockets get their turn
    cdef object _origin             # of the last connection, and so of the next from the same address
    cdef unsigned char _address[20]
    cdef int _address_size
    cdef int accept_waiting(self, Reactor reactor) except -1
    cdef int _take(self, Reactor reactor, int fd, const void *from_address, double timeout_s) except -1

cdef class Reactor:
    cdef readonly Plane plane
    cdef int _epoll
    cdef unsigned char *_scratch
    cdef void *_events
    cdef list _more                     # links with whole packets that wait for another go
    cdef list _closed               # links that an event of this turn may still name
    cdef uint32_t _received         # how often links have received
    cdef Resting _resting           # whether rounds shall wait for others to come together
    cdef readonly uint64_t rests    # how often a round has waited for others to come together
    cdef object _log_error
    cdef readonly Py_ssize_t link_count
    cdef bint _in_turn
    cdef bint _can_linger
    cdef public bint yield_soon     # a task of the nursery has something to do: end the turn
    cdef dict _watches
    cdef int _adopt(self, SocketLink link, int fd) except -1
    cdef int _watch(self, int fd, Watch watch) except -1
    cdef int _flush(self) except -1
    cdef int _go_on(self) except -1
    cdef int _call(self, Watch watch) except -1
    cdef int _work(self, int count) except -1
    cdef int _guarded(self, SocketLink link, unsigned int flags) except -1
