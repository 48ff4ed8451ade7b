"""One epoll set for all plain sockets: read, feed, flush what is dirty. Linux only.

The set's own descriptor is what a trio task waits on: one waiter for all sockets. A turn drains it and,
before it gives the thread back, lingers for some tens of microseconds: what arrives meanwhile is handled
without a trip through trio's loop, under a budget that keeps the other tasks alive.
"""

import errno
import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from cpython.unicode cimport PyUnicode_FromString
from libc.stdint cimport uint16_t, uint32_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from noctule._speedups.buffers cimport pending
from noctule._speedups.link cimport LINK_CLOSED, LINK_ENDING, LINK_NEW, LINK_OPEN, Link
from noctule._speedups.outlet cimport Plane, sendable
from noctule._speedups.resting cimport Resting, is_among_strangers
from noctule._speedups.session cimport has_backlog

cdef extern from *:
    """
    #include <errno.h>
    #include <netdb.h>
    #include <netinet/in.h>
    #include <netinet/tcp.h>
    #include <sys/epoll.h>
    #include <sys/socket.h>
    #include <sys/syscall.h>
    #include <time.h>
    #include <unistd.h>
    #ifndef SYS_epoll_pwait2
    #define SYS_epoll_pwait2 441
    #endif
    /* Not through the C library, which knows the call from version 2.35 on only. */
    static int noctule_epoll_linger(int set, struct epoll_event *events, int most, long nanoseconds) {
        struct timespec wait = {0, nanoseconds};
        return (int)syscall(SYS_epoll_pwait2, set, events, most, &wait, NULL, 0);
    }
    static void noctule_rest(long nanoseconds) {
        struct timespec wait = {0, nanoseconds};
        (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, NULL);
    }
    static double noctule_clock(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
    }
    /* The address without the port, for a comparison; its length, 0 for a family that has none. */
    static int noctule_address(const struct sockaddr_storage *from, unsigned char *address, uint16_t *port) {
        if (from->ss_family == AF_INET) {
            const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
            memcpy(address, &v4->sin_addr, 4);
            *port = ntohs(v4->sin_port);
            return 4;
        }
        if (from->ss_family == AF_INET6) {
            const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)from;
            memcpy(address, &v6->sin6_addr, 16);
            memcpy(address + 16, &v6->sin6_scope_id, 4);
            *port = ntohs(v6->sin6_port);
            return 20;
        }
        return 0;
    }
    static int noctule_accept(int listening, struct sockaddr_storage *from) {
        socklen_t size = sizeof *from;
        from->ss_family = AF_UNSPEC;
        return accept4(listening, (struct sockaddr *)from, &size, SOCK_CLOEXEC);
    }
    static int noctule_host(const struct sockaddr_storage *from, char *host, int size) {
        socklen_t length = from->ss_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
        return getnameinfo((const struct sockaddr *)from, length, host, (socklen_t)size, NULL, 0, NI_NUMERICHOST);
    }
    static void noctule_no_delay(int fd) {
        int on = 1;
        /* Fails on what is not TCP, where there is nothing to switch off. */
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    """
    ctypedef union epoll_data_t:
        void *ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int set, int operation, int fd, epoll_event *event)
    int epoll_wait(int set, epoll_event *events, int most, int timeout)
    int noctule_epoll_linger(int set, epoll_event *events, int most, long nanoseconds) nogil
    void noctule_rest(long nanoseconds) nogil
    double noctule_clock()
    cdef struct sockaddr_storage:
        pass
    int noctule_address(const sockaddr_storage *peer, unsigned char *address, uint16_t *port)
    int noctule_accept(int listening, sockaddr_storage *peer)
    int noctule_host(const sockaddr_storage *peer, char *host, int size)
    void noctule_no_delay(int fd)
    ssize_t recv(int fd, void *buffer, size_t size, int flags)
    ssize_t send(int fd, const void *buffer, size_t size, int flags)
    int shutdown(int fd, int how)
    int close(int fd)
    int c_errno "errno"
    int EAGAIN, EWOULDBLOCK, EINTR, ENOSYS, EPERM
    int EPOLL_CLOEXEC, EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL
    uint32_t EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP
    int MSG_DONTWAIT, MSG_NOSIGNAL, SHUT_WR

cdef enum:
    # What one recv takes: large enough that a flood costs few system calls, and that several packets of 64 KiB, read
    # together, leave in one send for each subscriber (with 128 KiB each left by itself, for half as much again of the
    # time); small enough that it stays in the cache (512 KiB is slower again with small packets).
    SCRATCH_BYTES = 262_144
    EVENTS_MAX = 512
    # One flush sends this often at most while the session's backlog refills the buffer.
    SENDS_MAX = 8
    # What a filter is given to encode at a time: four records of TLS, one frame of WebSocket with a short header.
    ENCODE_BYTES = 65_535
    # Steps of handshakes in one round: one of TLS with an RSA key takes a millisecond, which everybody else waits for.
    # The others are reported again in the next.
    HANDSHAKES_MAX = 8
    PROTOCOL_ERROR = 0x82
    # A numeric address with its scope.
    HOST_BYTES = 128

# How long a turn may hold the thread before trio's other tasks get theirs.
cdef double TURN_BUDGET_S = 0.001
cdef double TURN_BUDGET_LONG_S = 0.02
# How long it waits in place for the next event. A wait of less than the system's tick costs a programming
# of the timer (several microseconds on a virtual machine), so it is long unless somebody else is in a hurry: longer than
# another process holds a busy processor at a time, or else whoever shares one with its clients would be left for trio's
# loop and come back for each of their packets.
cdef long LINGER_NS = 80_000
cdef long LINGER_LONG_NS = 8_000_000

# Where many connections send a little each now and then, every message is an event by itself, and waking up for it costs
# more than handling it. So a round that follows the one before closely rests first, as long as hardly anybody who was
# heard lately is heard again: whoever waits for an answer before sending the next message would be held up by every
# rest. And as long as events come often and one by one (``Resting``).
cdef long REST_NS = 150_000
cdef enum:
    # A source is a stranger if none of so many events before was its own.
    STRANGER_AFTER = 64
    # More events than this in a round, and the waking up is paid for.
    REST_EVENTS_MAX = 8
    # What such a source sends at a time, at most.
    REST_BYTES_MAX = 4_096
# A round that comes so long after the one before is late: there is nothing to bring together.
cdef double LATE_S = 0.0004


@cython.no_gc
cdef class SocketLink(Link):
    """A link over a stream socket, read and written by the reactor; through ``filter``, where it has one.

    ``on_release`` is called once, when the socket is closed.
    """

    def __cinit__(self, *args, **kwargs):
        self.fd = -1

    def __dealloc__(self):
        if self.fd >= 0:
            close(self.fd)

    cdef int release_transport(self) except -1:
        cdef int fd = self.fd
        if fd < 0:
            return 0
        cdef object released = self.on_release
        self.on_release = None
        try:
            if self.filter is not None:
                self._last_words()
            if released is not None:
                released()
        except Exception:
            self.reactor._log_error(self)       # it is closed all the same
        self.fd = -1
        self._wire = None
        epoll_ctl(self.reactor._epoll, EPOLL_CTL_DEL, fd, NULL)
        close(fd)
        self.reactor.link_count -= 1
        if self.reactor._in_turn:
            # An event of this turn may name the link still: its last reference goes when the turn ends.
            self.reactor._closed.append(self)
        self.reactor = None
        Py_DECREF(self)
        return 0

    cdef int _set_interest(self, bint reads, bint writes) except -1:
        cdef epoll_event event
        if self.fd < 0 or (reads == self._reads and writes == self._wants_write):
            return 0
        event.events = (EPOLLIN if reads else <uint32_t>0) | (EPOLLOUT if writes else <uint32_t>0)
        event.data.ptr = <void *>self
        if epoll_ctl(self.reactor._epoll, EPOLL_CTL_MOD, self.fd, &event) < 0:
            raise OSError(c_errno, os.strerror(c_errno))
        self._reads = reads
        self._wants_write = writes
        return 0

    cdef bint _may_read(self) noexcept:
        """Not while a packet waits for a decision, nor while the link's own answers pile up unread."""
        if self.state >= LINK_ENDING:
            return True         # what comes is thrown away; the end of it is what is waited for
        return not self.is_paused and not self.has_more and not self.is_stalled and \
            pending(&self.out) + <size_t>self._wire_left() <= self.plane.write_max_bytes * (<size_t>2 if self._reads else <size_t>1)

    cdef int _receive(self) except -1:
        """Read once and feed what came."""
        cdef ssize_t size = recv(self.fd, self.reactor._scratch, SCRATCH_BYTES, MSG_DONTWAIT)
        self.reactor._received += 1
        self.reactor._resting.hear(
            self.reactor._received - self._received_as > STRANGER_AFTER and size <= REST_BYTES_MAX)
        self._received_as = self.reactor._received
        if size > 0:
            if self.filter is None:
                self.take(self.reactor._scratch, size)
            else:
                self._receive_filtered(PyBytes_FromStringAndSize(<char *>self.reactor._scratch, size))
            if self.has_more and self.fd >= 0:
                self.reactor._more.append(self)
            if not self._may_read():
                self._set_interest(False, self._wants_write)
            return 0
        if size == 0:
            self.gone("the peer closed the connection")
        elif c_errno != EAGAIN and c_errno != EWOULDBLOCK and c_errno != EINTR:
            self.gone(os.strerror(c_errno))
        return 0

    cdef int _receive_filtered(self, bytes data) except -1:
        """Feed what the filter makes of the bytes, and have sent what it answers by itself."""
        cdef bytes inner, answer
        cdef object fault
        inner, answer, fault = self.filter.received(self, data)
        if PyBytes_GET_SIZE(answer):
            self._append_wire(answer)
            self.plane.mark(self)
        if PyBytes_GET_SIZE(inner):
            self.take(<const unsigned char *>PyBytes_AS_STRING(inner), PyBytes_GET_SIZE(inner))
        if fault is None or self.fd < 0:
            return 0
        if not fault:
            return self.gone("the peer closed the connection")
        if self.state < LINK_ENDING:
            self.handler.violation(self, PROTOCOL_ERROR, fault, "")
            if self.state < LINK_ENDING:
                self.close()    # the handler has to end it
        else:
            self.close()
        return 0

    def resume(self):
        Link.resume(self)
        if self.fd >= 0:
            if self.has_more:
                self.reactor._more.append(self)
            self._set_interest(self._may_read(), self._wants_write)

    def unstall(self):
        Link.unstall(self)
        if self.fd >= 0:
            if self.has_more:
                self.reactor._more.append(self)
            self._set_interest(self._may_read(), self._wants_write)

    cdef int flush(self) except -1:
        cdef int sends
        if self.fd < 0:
            return 0
        if self.filter is not None or self._wire is not None:
            return self._flush_filtered()
        for sends in range(SENDS_MAX):
            if sendable(self) and not self._send_pending():
                return 0
            if self.session is None or not has_backlog(self.session):
                break
            self.session.pump()
            if pending(&self.out) == 0:
                break           # the window is full
        # Packets that wait for another turn ask for one, where none is under way.
        self._set_interest(self._may_read(), sendable(self) != 0 or (self.has_more and not self.reactor._in_turn))
        if self.state == LINK_ENDING and pending(&self.out) == 0:
            self._finish()
        return 0

    cdef int _flush_filtered(self) except -1:
        """The same through the filter: no more is encoded than the socket has taken, so back-pressure stays as it is."""
        cdef int sends
        for sends in range(SENDS_MAX):
            while True:
                if self._wire is not None and not self._send_wire():
                    return 0
                if sendable(self) == 0:
                    break
                self._encode()
            if self.session is None or not has_backlog(self.session):
                break
            self.session.pump()
            if sendable(self) == 0:
                break           # the window is full
        self._set_interest(self._may_read(), sendable(self) != 0)
        if self.state == LINK_ENDING and pending(&self.out) == 0:
            self._finish()
        return 0

    cdef int _encode(self) except -1:
        """Give the filter the next of what is to be sent."""
        cdef size_t size = min(sendable(self), <size_t>ENCODE_BYTES)
        cdef bytes data = PyBytes_FromStringAndSize(<char *>self.out.data + self.out.start, size)
        if self.filter is not None:
            data = self.filter.to_send(data)
        self.plane.counters.bytes_sent += size
        self.out.start += size
        if pending(&self.out) == 0:
            self.empty()
        self._append_wire(data)
        return 0

    cdef Py_ssize_t _wire_left(self) noexcept:
        return 0 if self._wire is None else PyBytes_GET_SIZE(self._wire) - self._wire_at

    cdef int _append_wire(self, bytes data) except -1:
        if self._wire is None:
            self._wire = data
        else:
            self._wire = self._wire[self._wire_at:] + data
        self._wire_at = 0
        return 0

    cdef int _send_wire(self) except -1:
        """Send all that is encoded; 0 where it did not all go, or the connection is gone."""
        cdef ssize_t size
        while self._wire_left():
            size = send(self.fd, PyBytes_AS_STRING(self._wire) + self._wire_at, self._wire_left(),
                        MSG_DONTWAIT | MSG_NOSIGNAL)
            if size >= 0:
                self._wire_at += size
                if self._wire_left() == 0:
                    break
            elif c_errno == EINTR:
                continue
            elif c_errno != EAGAIN and c_errno != EWOULDBLOCK:
                self.gone(os.strerror(c_errno))
                return 0
            self._set_interest(self._may_read(), True)
            return 0
        self._wire = None
        return 1

    cdef int _last_words(self) except -1:
        """At once before the socket is closed: what is encoded and the filter's end, as far as the socket takes them."""
        self._append_wire(self.filter.end())
        if self._wire_left():
            send(self.fd, PyBytes_AS_STRING(self._wire) + self._wire_at, self._wire_left(), MSG_DONTWAIT | MSG_NOSIGNAL)
        return 0

    cdef size_t send_now(self, const unsigned char *data, size_t size) noexcept:
        cdef ssize_t sent
        if self.fd < 0 or self._wants_write or self.filter is not None:
            return 0
        sent = send(self.fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL)
        if sent <= 0:
            return 0
        self.plane.counters.bytes_sent += sent
        return <size_t>sent

    cdef int _send_pending(self) except -1:
        """Send all; 0 where it did not all go, or the connection is gone."""
        cdef ssize_t size
        while True:
            size = send(self.fd, self.out.data + self.out.start, sendable(self), MSG_DONTWAIT | MSG_NOSIGNAL)
            if size >= 0 or c_errno != EINTR:
                break
        if size < 0:
            if c_errno == EAGAIN or c_errno == EWOULDBLOCK:
                self._set_interest(self._may_read(), True)
            else:
                self.gone(os.strerror(c_errno))
            return 0
        self.plane.counters.bytes_sent += size
        self.out.start += size
        if sendable(self):
            self._set_interest(self._may_read(), True)
            return 0
        if pending(&self.out) == 0:
            self.empty()
        return 1

    cdef int _finish(self) except -1:
        """All is sent: say so, and wait for the peer to close; a close now would take back what it has not read."""
        if self.filter is not None:
            self._append_wire(self.filter.end())
            if not self._send_wire():
                return 0        # the flush that sends the rest comes back here
        if shutdown(self.fd, SHUT_WR) < 0:
            self.close()
        return 0

    @property
    def pending_bytes(self):
        """Written and not yet sent."""
        return self.out.end - self.out.start + self._wire_left()

    @property
    def fileno(self):
        """The socket's descriptor; -1 once it is closed."""
        return self.fd


cdef class Watch:
    """What is called when a descriptor that is no link's becomes readable."""


cdef class Door(Watch):
    """A listening socket of addresses and ports at which everybody is let in: no filter, no limits, nobody counted.

    Its connections become links here, ``burst`` at a time, with a call into Python only for the first of each address:
    ``origin_of(host)`` says what such a link's origin is. ``connect_timeout_s()`` is how long a link may take to say
    CONNECT; ``accept_slowly()`` is called where accepting fails, and may find out why, ``failed(peer, error)`` where
    the system does not watch a connection, which is closed then. ``links`` is the set of the broker's links.
    """

    def __init__(self, router not None, handler not None, set links not None, *, int burst, origin_of,
                 connect_timeout_s, failed, accept_slowly):
        self.router = router
        self.handler = handler
        self.links = links
        self.callback = accept_slowly
        self._burst = burst
        self._origin_of = origin_of
        self._connect_timeout_s = connect_timeout_s
        self._failed = failed

    cdef int accept_waiting(self, Reactor reactor) except -1:
        """Accept a burst."""
        cdef sockaddr_storage peer
        cdef int fd, i
        cdef double timeout_s = self._connect_timeout_s()
        for i in range(self._burst):
            fd = noctule_accept(self.fd, &peer)
            if fd >= 0:
                self._take(reactor, fd, &peer, timeout_s)
            elif c_errno == EAGAIN or c_errno == EWOULDBLOCK:
                return 0
            elif c_errno != EINTR:
                self.callback()
                return 0
        return 0

    cdef int _take(self, Reactor reactor, int fd, const void *from_address, double timeout_s) except -1:
        cdef unsigned char address[20]
        cdef char host[HOST_BYTES]
        cdef uint16_t port = 0
        cdef const sockaddr_storage *peer = <const sockaddr_storage *>from_address
        cdef int size = noctule_address(peer, address, &port)
        cdef SocketLink link
        if size == 0:
            close(fd)           # the peer has gone already
            return 0
        if self._origin is None or size != self._address_size or memcmp(address, self._address, size) != 0:
            if noctule_host(peer, host, HOST_BYTES) != 0:
                close(fd)
                return 0
            try:
                self._origin = self._origin_of(PyUnicode_FromString(host))
            except Exception:
                close(fd)
                raise
            memcpy(self._address, address, size)
            self._address_size = size
        link = SocketLink.__new__(SocketLink)
        link.set_up(self.router, self.handler, self._origin)
        link._peer_port = port
        try:
            reactor._adopt(link, fd)
        except OSError as error:
            self._failed(link.peer, error)
            return 0
        self.links.add(link)
        reactor.plane.deadlines.schedule_at(link, reactor.plane.now + timeout_s)
        return 0


cdef class Reactor:
    """The epoll set, and a turn of it. ``log_error(link)`` is called inside ``except`` when a link's handling
    fails by a fault of ours: that link is closed, the others go on."""

    def __cinit__(self):
        self._epoll = -1

    def __init__(self, Plane plane not None, log_error):
        self.plane = plane
        self._closed = []
        self._more = []
        self._watches = {}
        self._log_error = log_error
        self._received = STRANGER_AFTER      # so that who has never been heard is a stranger
        self._can_linger = True
        self._resting = Resting()
        self._scratch = <unsigned char *>malloc(SCRATCH_BYTES)
        self._events = calloc(EVENTS_MAX, sizeof(epoll_event))
        if self._scratch == NULL or self._events == NULL:
            raise MemoryError()
        self._epoll = epoll_create1(EPOLL_CLOEXEC)
        if self._epoll < 0:
            raise OSError(c_errno, os.strerror(c_errno))

    def __dealloc__(self):
        if self._epoll >= 0:
            close(self._epoll)
        free(self._scratch)
        free(self._events)

    def fileno(self):
        """The epoll set's descriptor: readable when a turn has work."""
        return self._epoll

    def close(self):
        """Close the set. Every link has been closed before."""
        if self._epoll >= 0:
            close(self._epoll)
            self._epoll = -1
        self._closed.clear()
        self._watches.clear()
        self._more.clear()

    def add(self, SocketLink link not None, int fd):
        """Take over a connected socket, non-blocking or not: it is the link's from now on, also on failure."""
        noctule_no_delay(fd)
        self._adopt(link, fd)

    cdef int _adopt(self, SocketLink link, int fd) except -1:
        cdef epoll_event event
        link.fd = fd
        link.reactor = self
        event.events = EPOLLIN
        event.data.ptr = <void *>link
        if epoll_ctl(self._epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            error = OSError(c_errno, os.strerror(c_errno))
            link.fd = -1
            close(fd)
            raise error
        link._reads = True
        # The set's own reference: given back by release_transport.
        Py_INCREF(link)
        self.link_count += 1
        return 0

    def watch(self, int fd, callback not None):
        """Call ``callback()`` in every turn that finds ``fd`` readable, until ``unwatch``: for listening sockets,
        so that a turn that lingers is not blind to new connections. OSError where it cannot be watched."""
        cdef Watch watch = Watch.__new__(Watch)
        watch.callback = callback
        self._watch(fd, watch)

    def watch_door(self, int fd, Door door not None):
        """Accept by itself, in every turn that finds the listening socket ``fd`` readable, until ``unwatch``. OSError
        where it cannot be watched."""
        noctule_no_delay(fd)        # what is accepted has it too
        door.fd = fd
        self._watch(fd, door)

    cdef int _watch(self, int fd, Watch watch) except -1:
        cdef epoll_event event
        event.events = EPOLLIN
        # Links are aligned objects: a set lowest bit says that this is none.
        event.data.ptr = <void *>(<uintptr_t><void *>watch | 1)
        if epoll_ctl(self._epoll, EPOLL_CTL_ADD, fd, &event) < 0:
            raise OSError(c_errno, os.strerror(c_errno))
        watch.is_watched = True
        self._watches[fd] = watch
        return 0

    def unwatch(self, int fd):
        """Watch ``fd`` no more."""
        cdef Watch watch = self._watches.pop(fd, None)
        if watch is not None:
            epoll_ctl(self._epoll, EPOLL_CTL_DEL, fd, NULL)
            watch.is_watched = False
            if self._in_turn:
                self._closed.append(watch)      # an event of this turn may name it still

    def turn(self, double now, bint linger_long=True):
        """Handle what has come and what comes within the budget; ``now``: the broker's clock, in seconds.

        ``linger_long``: nobody else in this thread waits for anything but the reactor's own descriptors. True where
        there may be more to do at once: the caller lets the other tasks run and comes back.
        """
        cdef double start = noctule_clock()
        cdef double spent
        cdef int count
        cdef double round_at = 0
        cdef bint first = True
        cdef bint may_rest = False
        cdef bint is_spent = False
        cdef long wait_ns = LINGER_LONG_NS if linger_long else LINGER_NS
        cdef double budget_s = TURN_BUDGET_LONG_S if linger_long else TURN_BUDGET_S
        self._in_turn = True
        self.yield_soon = False
        try:
            self.plane.now = now
            while True:
                if first or not self._can_linger or self._more:
                    count = epoll_wait(self._epoll, <epoll_event *>self._events, EVENTS_MAX, 0)
                else:
                    with nogil:
                        if may_rest:
                            self.rests += 1
                            noctule_rest(REST_NS)
                        count = noctule_epoll_linger(self._epoll, <epoll_event *>self._events, EVENTS_MAX, wait_ns)
                    if count < 0 and c_errno != EINTR:
                        self._can_linger = False        # an old kernel, or one that forbids the call
                first = False
                if count <= 0 and not self._more:
                    break
                spent = noctule_clock() - start
                self.plane.now = now + spent
                self._work(max(count, 0))
                if linger_long:
                    self._resting.count(max(count, 0), spent - round_at >= LATE_S, self.plane.now)
                    may_rest = self._resting.is_on and count <= REST_EVENTS_MAX and spent - round_at < LATE_S \
                        and is_among_strangers(self._resting)
                else:
                    self._resting.stop()
                    may_rest = False
                round_at = spent
                is_spent = spent > budget_s
                if self.yield_soon or is_spent:
                    break
        finally:
            self._in_turn = False
            if self._closed:
                self._closed.clear()
        return is_spent or bool(self._more)

    cdef int _work(self, int count) except -1:
        cdef int i
        cdef int handshakes = 0
        cdef SocketLink link
        cdef epoll_event *events = <epoll_event *>self._events
        for i in range(count):
            if <uintptr_t>events[i].data.ptr & 1:
                self._call(<Watch><void *>(<uintptr_t>events[i].data.ptr - 1))
                continue
            link = <SocketLink>events[i].data.ptr
            if link.filter is not None and link.state == LINK_NEW:
                handshakes += 1
                if handshakes > HANDSHAKES_MAX:
                    continue
            self._guarded(link, events[i].events)
        if self._more:
            self._go_on()
        self._flush()
        return 0

    cdef int _go_on(self) except -1:
        """Another go for each link whose packets did not all get their turn."""
        cdef SocketLink link
        cdef list links = self._more
        self._more = []
        for link in links:
            if link.fd < 0:
                continue
            try:
                link.go_on()
                if link.fd >= 0:
                    if link.has_more:
                        self._more.append(link)
                    link._set_interest(link._may_read(), link._wants_write)
            except Exception:
                self._log_error(link)
                try:
                    link.lose("an error of the broker's")
                except Exception:
                    self._log_error(link)
        return 0

    cdef int _call(self, Watch watch) except -1:
        if not watch.is_watched:
            return 0
        try:
            if isinstance(watch, Door):
                (<Door>watch).accept_waiting(self)
            else:
                watch.callback()
        except Exception:
            self._log_error(None)
        return 0

    cdef int _guarded(self, SocketLink link, unsigned int flags) except -1:
        if link.fd < 0:
            return 0            # closed earlier in this turn
        try:
            if flags & (EPOLLIN | EPOLLERR | EPOLLHUP):
                link._receive()
            if flags & EPOLLOUT and link.fd >= 0:
                link.flush()
        except Exception:
            self._log_error(link)
            try:
                link.lose("an error of the broker's")
            except Exception:
                self._log_error(link)
        return 0

    cdef int _flush(self) except -1:
        while True:
            try:
                self.plane.flush_dirty()
            except Exception:
                self._log_error(None)
            else:
                return 0
