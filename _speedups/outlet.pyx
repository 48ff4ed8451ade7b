"""The write side of a connection, and what one turn of the data plane has touched.

A turn reads many packets and appends what they cause to the buffers of many connections; each of
these joins the plane's dirty list once, and the list is flushed at the end of the turn: one system
call for each connection, however much it was sent.
"""

cimport cython
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from noctule._speedups.buffers cimport BufferPool, Cursor, WriteBuffer, pending
from noctule._speedups.codec cimport FRAME_WHOLE, Frame, scan_frame
from noctule._speedups.deadlines cimport Deadlines, Timed
from noctule._speedups.journal cimport Journal


cdef enum:
    # Of a topic: the trees hold 256, and a share group is one more.
    LEVELS_MAX = 256
    # What a packet gains on its way to another version (a property length, identifiers, an alias) must fit
    # under MQTT's 268,435,455 as well.
    PACKET_BYTES_MAX = 200_000_000


cdef class Shortcut:
    """Handles packets of clients about whom nothing is to be decided."""

    cdef bint connect(self, Outlet link, const Cursor *body) except -1:
        """CONNECT."""
        return False

    cdef bint packet(self, Outlet link, uint8_t first, const Cursor *body) except -1:
        """SUBSCRIBE or DISCONNECT of a client whose CONNECT was handled here."""
        return False

    cdef object describe(self, Outlet link, str client_id):
        """Who that client is, as plugins are told."""
        return None


cdef class Plane:
    """What the links of one broker share: buffers, the dirty list, counters, limits, the time.

    Limits are in bytes and messages as their names say; ``now`` is the time on the broker's clock in
    seconds, set by whoever feeds (``begin_turn``), so that a turn reads the clock once.
    """

    def __init__(self, *, size_t write_max_bytes, size_t packet_max_bytes, size_t connect_max_bytes,
                 uint32_t queue_max_messages, size_t queue_max_bytes, uint32_t inflight_max,
                 uint32_t receive_maximum, int levels_max, uint16_t alias_max_in=0,
                 uint16_t alias_max_out=0, uint64_t retained_max=0, uint32_t subscriptions_max=0xFFFFFFFF,
                 uint64_t filter_levels_max=0xFFFFFFFF):
        memset(&self.counters, 0, sizeof(self.counters))
        self.pool = BufferPool()
        self._held_back = []
        self._stalled = []
        self.deadlines = Deadlines()
        self.set_limits(
            write_max_bytes=write_max_bytes, packet_max_bytes=packet_max_bytes, connect_max_bytes=connect_max_bytes,
            queue_max_messages=queue_max_messages, queue_max_bytes=queue_max_bytes, inflight_max=inflight_max,
            receive_maximum=receive_maximum, levels_max=levels_max, alias_max_in=alias_max_in,
            alias_max_out=alias_max_out, retained_max=retained_max, subscriptions_max=subscriptions_max,
            filter_levels_max=filter_levels_max)

    def set_limits(self, *, size_t write_max_bytes, size_t packet_max_bytes, size_t connect_max_bytes,
                   uint32_t queue_max_messages, size_t queue_max_bytes, uint32_t inflight_max,
                   uint32_t receive_maximum, int levels_max, uint16_t alias_max_in=0,
                   uint16_t alias_max_out=0, uint64_t retained_max=0, uint32_t subscriptions_max=0xFFFFFFFF,
                   uint64_t filter_levels_max=0xFFFFFFFF):
        """Other limits from now on. What a client was told in CONNACK holds for its connection."""
        if not 1 <= levels_max < LEVELS_MAX:
            raise ValueError(f"a topic has 1 to {LEVELS_MAX - 1} levels at most, not {levels_max}")
        if not 1 <= packet_max_bytes <= PACKET_BYTES_MAX:
            raise ValueError(f"a packet has 1 to {PACKET_BYTES_MAX} bytes at most, not {packet_max_bytes}")
        self.write_max_bytes = write_max_bytes
        self.packet_max_bytes = packet_max_bytes
        self.connect_max_bytes = connect_max_bytes
        self.queue_max_messages = queue_max_messages
        self.queue_max_bytes = queue_max_bytes
        self.inflight_max = inflight_max
        self.receive_maximum = receive_maximum
        self.levels_max = levels_max
        self.alias_max_in = alias_max_in
        self.alias_max_out = alias_max_out
        self.retained_max = retained_max
        self.subscriptions_max = subscriptions_max
        self.filter_levels_max = filter_levels_max

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self._dirty_count):
            Py_DECREF(<object>self._dirty[i])
        free(self._dirty)

    def close(self):
        """Forget what waits for a time or to be sent. Sessions and links refer to the plane: without this it stays."""
        self.shortcut = None
        self.deadlines.clear()
        self._held_back.clear()
        self._stalled.clear()
        while self._dirty_count:
            self._dirty_count -= 1
            (<Outlet>self._dirty[self._dirty_count]).is_dirty = False
            Py_DECREF(<object>self._dirty[self._dirty_count])

    def let_go(self):
        """Send what waited for the batches of the journal that are kept by now. The caller flushes afterwards."""
        cdef Outlet outlet
        cdef list held_back = self._held_back
        self._held_back = []
        for outlet in held_back:
            if outlet.hold_count and not outlet.let_go(self.journal.committed):
                self._held_back.append(outlet)

    def take_held_back(self):
        """The outlets with bytes that wait for the journal, which will never be kept: they are the caller's to end."""
        cdef list held_back = self._held_back
        self._held_back = []
        return held_back

    def take_stalled(self):
        """The links that wait until less waits for the journal: the caller lets them go on (``Link.unstall``)."""
        cdef list stalled = self._stalled
        self._stalled = []
        return stalled

    def watch(self, *, message_received=None, message_published=None, message_delivered=None, message_dropped=None,
              retained_changed=None, packet_received=None, packet_sent=None):
        """Have these called from now on; None: nobody is."""
        self.message_received = message_received
        self.message_published = message_published
        self.message_delivered = message_delivered
        self.message_dropped = message_dropped
        self.retained_changed = retained_changed
        self.packet_received = packet_received
        self.packet_sent = packet_sent
        self.sees_messages = not (message_received is message_published is message_delivered is message_dropped is None
                                  and packet_sent is None)

    cdef int tell(self, object watcher, object first, object second) except -1:
        """Call a watcher, while nothing may change."""
        cdef bint was_deciding = self.is_deciding
        self.is_deciding = True
        try:
            watcher(first, second)
        finally:
            self.is_deciding = was_deciding
        return 0

    cdef int tell_dropped(self, object session, object message, str reason) except -1:
        """Tell that a message was not delivered to a session (None: to nobody), and why."""
        cdef bint was_deciding = self.is_deciding
        self.is_deciding = True
        try:
            self.message_dropped(session, message, reason)
        finally:
            self.is_deciding = was_deciding
        return 0

    cdef int _trace(self, Outlet outlet) except -1:
        """Show the packets that were written to an outlet since the last time."""
        cdef Cursor cursor
        cdef Frame frame
        cdef const unsigned char *start
        cursor.end = outlet.out.data + outlet.out.end
        cursor.at = cursor.end - outlet.untraced
        outlet.untraced = 0
        while True:
            start = cursor.at
            if scan_frame(&cursor, &frame) != FRAME_WHOLE:
                return 0
            self.tell(self.packet_sent, outlet, PyBytes_FromStringAndSize(<const char *>start, frame.size))

    def begin_turn(self, double now):
        """Set the time that everything until the next call happens at."""
        self.now = now

    cdef int mark(self, Outlet outlet) except -1:
        """Have the outlet flushed at the end of the turn."""
        cdef Py_ssize_t capacity
        cdef PyObject **dirty
        if outlet.is_dirty:
            return 0
        if self._dirty_count == self._dirty_capacity:
            capacity = self._dirty_capacity * 2 if self._dirty_capacity else 64
            dirty = <PyObject **>realloc(self._dirty, capacity * sizeof(PyObject *))
            if dirty == NULL:
                raise MemoryError()
            self._dirty = dirty
            self._dirty_capacity = capacity
        Py_INCREF(outlet)
        self._dirty[self._dirty_count] = <PyObject *>outlet
        self._dirty_count += 1
        outlet.is_dirty = True
        return 0

    cdef int flush_dirty(self) except -1:
        """Flush every outlet on the list, and those that join it meanwhile (a will, a queue that moves on)."""
        cdef Py_ssize_t done = 0
        cdef Outlet outlet
        if self._is_flushing:
            return 0            # asked for by what a flush has caused: the list is being worked through
        self._is_flushing = True
        try:
            while done < self._dirty_count:
                outlet = <Outlet>self._dirty[done]
                Py_DECREF(outlet)
                done += 1
                outlet.is_dirty = False
                if outlet.untraced:
                    self._trace(outlet)
                outlet.flush()
        finally:
            # What stands behind an error stays for the next call.
            self._dirty_count -= done
            if self._dirty_count:
                memmove(self._dirty, self._dirty + done, self._dirty_count * sizeof(PyObject *))
            self._is_flushing = False
        return 0

    def flush(self):
        """Send what the turn has written."""
        self.flush_dirty()

    @property
    def counts(self):
        """The counters as a dict; ``packets_received`` and ``packets_sent`` are tuples by packet type."""
        return {
            "sockets_opened": self.counters.sockets_opened,
            "bytes_received": self.counters.bytes_received,
            "bytes_sent": self.counters.bytes_sent,
            "packets_received": tuple(self.counters.packets_received[i] for i in range(16)),
            "packets_sent": tuple(self.counters.packets_sent[i] for i in range(16)),
            "publish_bytes_received": self.counters.publish_bytes_received,
            "publish_bytes_sent": self.counters.publish_bytes_sent,
            "dropped_slow_reader": self.counters.dropped_slow_reader,
            "dropped_offline": self.counters.dropped_offline,
            "dropped_queue_full": self.counters.dropped_queue_full,
            "dropped_expired": self.counters.dropped_expired,
            "dropped_denied": self.counters.dropped_denied,
            "dropped_too_large": self.counters.dropped_too_large,
        }


@cython.no_gc
cdef class Outlet(Timed):
    """The write side of one connection."""

    def __dealloc__(self):
        cdef uint16_t i
        if self.plane is not None:
            self.empty()
        for i in range(self.alias_count):
            free(self.aliases[i].topic)
        free(self.aliases)

    cdef int allow_aliases(self, uint16_t count) except -1:
        """Use at most ``count`` Topic Aliases towards the peer [MQTT-3.1.2-26] [MQTT-3.1.2-27]."""
        count = min(count, self.plane.alias_max_out)
        if count and self.aliases == NULL:
            self.aliases = <AliasSlot *>calloc(count, sizeof(AliasSlot))
            if self.aliases == NULL:
                raise MemoryError()
            self.alias_count = count
        return 0

    cdef uint16_t alias_of(self, const unsigned char *topic, uint16_t size, bint *is_known) noexcept:
        """The Topic Alias to send a topic with; 0: none. ``is_known``: the peer knows it, the name may be left out.

        Every topic has one place. It takes it over from another topic that has not been sent since the last
        one that wanted it: what comes once does not push out what comes often. The caller sends what it gets.
        """
        cdef uint32_t hash = 2_166_136_261
        cdef uint16_t i
        cdef AliasSlot *slot
        cdef unsigned char *copy
        if size <= 4:
            return 0            # the alias would be as long
        for i in range(size):
            hash = (hash ^ topic[i]) * <uint32_t>16_777_619
        i = hash % self.alias_count
        slot = &self.aliases[i]
        is_known[0] = slot.topic != NULL and slot.size == size and memcmp(slot.topic, topic, size) == 0
        if is_known[0]:
            slot.is_recent = True
            return i + 1
        if slot.topic != NULL and slot.is_recent:
            slot.is_recent = False
            return 0
        copy = <unsigned char *>malloc(size)
        if copy == NULL:
            return 0
        memcpy(copy, topic, size)
        free(slot.topic)
        slot.topic = copy
        slot.size = size
        slot.is_recent = False
        return i + 1

    cdef unsigned char *room(self, size_t size) except NULL:
        """Where to write the next ``size`` bytes, all of them: they count as written. Joins the dirty list."""
        cdef unsigned char *at
        self.make_room(size)
        if not self.is_dirty:
            self.plane.mark(self)
        at = self.out.data + self.out.end
        self.out.end += size
        self.written += size
        if self.plane.packet_sent is not None:
            self.untraced += size
        return at

    cdef int make_room(self, size_t size) except -1:
        """Make ``size`` bytes fit behind what is written."""
        cdef WriteBuffer lent
        if self.lent is None:
            return self.plane.pool.make_room(&self.out, size)
        lent = self.out
        self.out.data = NULL
        self.out.start = self.out.end = 0
        try:
            self.plane.pool.make_room(&self.out, pending(&lent) + size)
        except MemoryError:
            self.out = lent
            raise
        memcpy(self.out.data, lent.data + lent.start, pending(&lent))
        self.out.end = pending(&lent)
        self.lent = None
        return 0

    cdef int lend(self, bytes data) except -1:
        """Write bytes that others are to be sent as well, without a copy, where nothing waits to be sent."""
        cdef Py_ssize_t size = PyBytes_GET_SIZE(data)
        if not self.is_dirty:
            self.plane.mark(self)
        self.empty()
        self.lent = data
        self.out.data = <unsigned char *>PyBytes_AS_STRING(data)
        self.out.end = size
        self.written += size
        if self.plane.packet_sent is not None:
            self.untraced += size
        return 0

    cdef void empty(self) noexcept:
        """Nothing is written any more: its memory goes to whoever it belongs to."""
        if self.lent is None:
            self.plane.pool.give_back(&self.out)
            return
        self.out.data = NULL
        self.out.start = self.out.end = 0
        self.lent = None

    cdef int hold_back(self, bint must_sync) except -1:
        """What is written from now on waits until all is kept that the journal has collected so far."""
        cdef Journal journal = self.plane.journal
        if must_sync:
            journal._must_sync = True
        if self.hold_count and self.hold_tickets[self.hold_count - 1] == journal.ticket:
            return 0
        if self.hold_count == 0:
            self.plane._held_back.append(self)
        if self.hold_count == 2:
            # Only where a batch was put back: what waited for it waits for the next as well.
            self.hold_tickets[1] = journal.ticket
            return 0
        self.hold_positions[self.hold_count] = self.written
        self.hold_tickets[self.hold_count] = journal.ticket
        self.hold_count += 1
        return 0

    cdef int let_go(self, uint64_t committed) except -1:
        """Send what waited for a batch up to this one; 1 where nothing waits any more."""
        while self.hold_count and self.hold_tickets[0] <= committed:
            self.hold_positions[0] = self.hold_positions[1]
            self.hold_tickets[0] = self.hold_tickets[1]
            self.hold_count -= 1
        self.plane.mark(self)
        return self.hold_count == 0

    cdef size_t send_now(self, const unsigned char *data, size_t size) noexcept:
        """Send bytes past the empty write buffer, as far as they go at once; how many did.

        What went wrong, if anything did, is for the flush to find.
        """
        return 0

    cdef int flush(self) except -1:
        """Send what has been written, as far as it goes; what is left goes when the peer takes it."""
        return 0

    @property
    def pending_bytes(self):
        """Written and not yet sent."""
        return self.out.end - self.out.start
