"""One session's delivery state: packet identifiers, what is in flight, what is queued, what QoS 2 has received."""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF, Py_XINCREF
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, qsort
from libc.string cimport memcmp, memcpy, memset

from noctule._speedups.buffers cimport pending
from noctule._speedups.codec cimport (
    ACK_SIZE_MAX, ALIAS_SIZE, LAYOUT_5, PUBLISH, PUBREL, Layout, Parts, publish_size, write_ack, write_publish,
)
from noctule._speedups.journal cimport Journal, is_usable
from noctule._speedups.message cimport Message, is_expired, parts_of, seconds_left, size_of
from noctule._speedups.outlet cimport Outlet, Plane, refuse_while_deciding

# A queue is moved into the write buffer this far at a time, so that a long backlog does not
# become a long buffer: the rest follows as the peer reads.
cdef enum:
    PUMP_BYTES = 262_144


# --- the table of packet identifiers -----------------------------------------------------
# Open addressing, at most half full, with the golden ratio as the hash: identifiers that follow each
# other spread evenly, and ones that a peer chooses badly cost it a longer search in its own table.

cdef inline uint32_t _slot_of(FlightTable *table, uint16_t packet_id) noexcept:
    return (<uint32_t>(packet_id * <uint32_t>40_503) & 0xFFFF) >> (16 - table.bits)


cdef Flight *find_flight(FlightTable *table, uint16_t packet_id) noexcept:
    """The flight with this packet identifier; NULL where there is none."""
    cdef uint32_t mask, slot
    if table.count == 0 or packet_id == 0:
        return NULL
    mask = (<uint32_t>1 << table.bits) - 1
    slot = _slot_of(table, packet_id)
    while table.slots[slot].packet_id != packet_id:
        if table.slots[slot].packet_id == 0:
            return NULL
        slot = (slot + 1) & mask
    return &table.slots[slot]


cdef Flight *_place(FlightTable *table, uint16_t packet_id) noexcept:
    cdef uint32_t mask = (<uint32_t>1 << table.bits) - 1
    cdef uint32_t slot = _slot_of(table, packet_id)
    while table.slots[slot].packet_id != 0:
        slot = (slot + 1) & mask
    table.slots[slot].packet_id = packet_id
    return &table.slots[slot]


cdef Flight *add_flight(FlightTable *table, uint16_t packet_id) except NULL:
    """An empty flight with this packet identifier, which must not be in the table."""
    cdef Flight *old = table.slots
    cdef Flight *place
    cdef uint32_t i, old_size = (<uint32_t>1 << table.bits) if old != NULL else 0
    if (table.count + 1) * 2 > old_size and table.bits < 16:
        table.slots = <Flight *>calloc(old_size * 2 if old_size else 8, sizeof(Flight))
        if table.slots == NULL:
            table.slots = old
            raise MemoryError()
        table.bits = table.bits + 1 if old_size else 3
        for i in range(old_size):
            if old[i].packet_id != 0:
                place = _place(table, old[i].packet_id)
                place[0] = old[i]
        free(old)
    table.count += 1
    return _place(table, packet_id)


cdef void remove_flight(FlightTable *table, Flight *flight) noexcept:
    """Drop the flight and what it refers to."""
    cdef uint32_t mask = (<uint32_t>1 << table.bits) - 1
    cdef uint32_t hole = <uint32_t>(flight - table.slots)
    cdef uint32_t slot = hole
    cdef uint32_t home
    cdef PyObject *message = flight.message
    cdef PyObject *via = flight.via
    table.count -= 1
    while True:
        slot = (slot + 1) & mask
        if table.slots[slot].packet_id == 0:
            break
        home = _slot_of(table, table.slots[slot].packet_id)
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            table.slots[hole] = table.slots[slot]
            hole = slot
    memset(&table.slots[hole], 0, sizeof(Flight))
    if table.count == 0 and table.bits > 8:
        free(table.slots)       # a burst is over: give its table back
        table.slots = NULL
        table.bits = 0
    Py_XDECREF(message)
    Py_XDECREF(via)


cdef void clear_flights(FlightTable *table) noexcept:
    """Drop all flights, and the table."""
    cdef uint32_t i
    if table.slots != NULL:
        for i in range(<uint32_t>1 << table.bits):
            if table.slots[i].packet_id != 0:
                Py_XDECREF(table.slots[i].message)
                Py_XDECREF(table.slots[i].via)
        free(table.slots)
    table.slots = NULL
    table.bits = 0
    table.count = 0


cdef int _by_order(const void *left, const void *right) noexcept nogil:
    cdef int32_t difference = <int32_t>((<const Flight *>left).order - (<const Flight *>right).order)
    return -1 if difference < 0 else 1 if difference > 0 else 0


cdef int write_to(Outlet outlet, const Parts *message_parts, int qos, bint retain, bint dup, uint16_t packet_id,
                  uint32_t expiry_s, const unsigned char *extra, uint32_t extra_size) except -1:
    """Append a PUBLISH to an outlet; 1, or 0 where it is above the peer's Maximum Packet Size, or not below its mount
    point."""
    cdef Parts parts = message_parts[0]
    cdef Layout layout = <Layout>outlet.layout
    cdef uint16_t alias = 0
    cdef bint is_known = False
    cdef size_t size
    if outlet.mount is not None:
        size = PyBytes_GET_SIZE(outlet.mount)
        if parts.topic_size <= size or memcmp(parts.topic, PyBytes_AS_STRING(outlet.mount), size) != 0:
            return 0            # it has no name there
        parts.topic += size
        parts.topic_size -= <uint16_t>size
    # Not at QoS 2: MQTT.js forgets what the alias stands for until it has the PUBREL, and hands out an empty topic.
    if outlet.alias_count and qos < 2 and publish_size(&parts, qos, layout, extra_size + ALIAS_SIZE) <= outlet.packet_max:
        # The memory first: an alias that has been given must reach the peer.
        outlet.make_room(publish_size(&parts, qos, layout, extra_size + ALIAS_SIZE))
        alias = outlet.alias_of(parts.topic, parts.topic_size, &is_known)
        if is_known:
            parts.topic_size = 0
    size = publish_size(&parts, qos, layout, extra_size + (ALIAS_SIZE if alias else 0))
    if size > outlet.packet_max:
        outlet.plane.counters.dropped_too_large += 1        # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
        return 0
    write_publish(outlet.room(size), &parts, qos, retain, dup, layout, packet_id, expiry_s, alias, extra, extra_size)
    outlet.plane.counters.packets_sent[PUBLISH] += 1
    outlet.publishes_sent += 1
    outlet.plane.counters.publish_bytes_sent += parts.payload_size
    return 1


# --- the session -------------------------------------------------------------------------

# What ``access.publish_rights`` answers, as bits and a number.
RIGHT_PUBLISH = 1
RIGHT_RETAIN = 2
RIGHT_QOS = 4
RIGHTS_UNKNOWN = 16      # alone: somebody has to be asked first (``Handler.undecided``)


cdef class Via:
    """What a delivery owes to the subscriptions it comes from."""


cdef bint ask_may_receive(Session session, bytes topic) except -1:
    """Ask the session's access rules, while nothing may change."""
    cdef bint was_deciding = session.plane.is_deciding
    session.plane.is_deciding = True
    try:
        return bool(session.rules.may_receive(topic))
    finally:
        session.plane.is_deciding = was_deciding


@cython.no_gc
cdef class Session(Subscriber):
    """The state that MQTT calls a session, but for its subscriptions, which hang in the filter tree.

    ``owner``: the identity that created it. ``client``: who is or was connected, for plugins. ``will``: the Will that
    is armed, or None. ``access``: what it may publish and receive; None: anything. Router.access_changed tells of a new
    one, or of new rules.
    ``expiry_interval_s``: how long it outlives its connection; 0: not at all; 0xFFFFFFFF: for good.
    ``outlet``: the connection it has now, or None. What it refers to in Python must not refer back.
    """

    def __init__(self, Plane plane not None, str client_id not None):
        self.set_up(plane, client_id)

    cdef void set_up(self, Plane plane, str client_id) noexcept:
        self.plane = plane
        self.client_id = client_id

    @property
    def access(self):
        """What it may publish and receive; None: anything. Set anew, it is judged anew: it has another number then."""
        return self.rules

    @access.setter
    def access(self, access):
        self.rules = access
        self.plane.rules_count += 1
        self.rules_number = self.plane.rules_count

    @property
    def client(self):
        """Who it is or was, as plugins are told; None: nobody knows."""
        if self._client is None and self.is_plain and self.outlet is not None and self.plane.shortcut is not None:
            self._client = self.plane.shortcut.describe(self.outlet, self.client_id)
        return self._client

    @client.setter
    def client(self, client):
        self._client = client
        self.is_plain = False

    def __dealloc__(self):
        self._drop_queue()
        clear_flights(&self.sent)
        clear_flights(&self.received)
        free(self._resend)

    cdef void _drop_queue(self) noexcept:
        cdef Delivery *delivery
        while self.queued:
            delivery = &self._queue[self._queue_head]
            self._queue_head = (self._queue_head + 1) & (self._queue_capacity - 1)
            self.queued -= 1
            Py_DECREF(<object>delivery.message)
            Py_XDECREF(delivery.via)
        free(self._queue)
        self._queue = NULL
        self._queue_capacity = self._queue_head = 0
        self.exempt = self.queued_qos0 = 0
        self.queued_bytes = 0

    cdef void _drop_queued_qos0(self) noexcept:
        cdef uint32_t mask = self._queue_capacity - 1
        cdef uint32_t i, kept = 0
        cdef Delivery delivery
        for i in range(self.queued):
            delivery = self._queue[(self._queue_head + i) & mask]
            if delivery.qos:
                self._queue[(self._queue_head + kept) & mask] = delivery
                kept += 1
                continue
            if delivery.flags & DELIVER_EXEMPT:
                self.exempt -= 1
            else:
                self.queued_bytes -= size_of(<Message>delivery.message)
            Py_DECREF(<object>delivery.message)
            Py_XDECREF(delivery.via)
        self.queued = kept
        self.queued_qos0 = 0

    @property
    def connected(self):
        """Whether it has a connection now."""
        return self.outlet is not None

    @property
    def unacknowledged(self):
        """How many messages the peer has not acknowledged, on this connection or an earlier one."""
        return self.sent.count

    @property
    def unreleased(self):
        """How many QoS 2 messages of the peer's wait for their PUBREL."""
        return self.received.count

    def unreleased_ids(self):
        """Their packet identifiers."""
        return [self.received.slots[i].packet_id for i in range(<uint32_t>1 << self.received.bits)
                if self.received.slots[i].packet_id] if self.received.slots != NULL else []

    def is_in_flight(self, uint16_t packet_id):
        """Whether a message was sent under this packet identifier that the peer has not acknowledged."""
        return find_flight(&self.sent, packet_id) != NULL

    # --- connection comes and goes ---

    def attach(self, Outlet outlet not None, uint32_t receive_maximum):
        """Deliver over this connection from now on, first what an earlier one left unacknowledged.

        ``receive_maximum``: how many QoS 1 and 2 messages the peer takes unacknowledged [MQTT-3.3.4-9].
        """
        self.attach_to(outlet, receive_maximum)

    cdef int attach_to(self, Outlet outlet, uint32_t receive_maximum) except -1:
        cdef Flight *flights
        cdef uint32_t i, count = 0
        refuse_while_deciding(self.plane)
        if self.outlet is not None:
            raise RuntimeError("the session has a connection")
        if self.sent.count:
            # Sent again in the order in which it was sent first [MQTT-4.6.0-1].
            flights = <Flight *>malloc(self.sent.count * sizeof(Flight))
            self._resend = <uint16_t *>malloc(self.sent.count * sizeof(uint16_t))
            if flights == NULL or self._resend == NULL:
                free(flights)
                free(self._resend)
                self._resend = NULL
                raise MemoryError()
            for i in range(<uint32_t>1 << self.sent.bits):
                if self.sent.slots[i].packet_id != 0:
                    self.sent.slots[i].flags &= ~IN_WINDOW
                    flights[count] = self.sent.slots[i]
                    count += 1
            qsort(flights, count, sizeof(Flight), _by_order)
            for i in range(count):
                self._resend[i] = flights[i].packet_id
            free(flights)
            self._resend_count = count
            self._resend_next = 0
        self.in_flight = 0
        self.receive_maximum = self.plane.receive_maximum
        self.window = min(receive_maximum, self.plane.inflight_max, <uint32_t>65_535)
        self.outlet = outlet
        self.pump()
        return 0

    def detach(self):
        """Deliver nowhere until the next ``attach``: QoS 1 and 2 are queued, QoS 0 is dropped."""
        refuse_while_deciding(self.plane)
        if self.is_plain and self._client is None:
            self._client = self.client      # as long as there is a link that says who it was
        self.leave()

    cdef int leave(self) except -1:
        self.outlet = None
        self._unanswered = None     # who comes back sends them again
        free(self._resend)
        self._resend = NULL
        self._resend_count = self._resend_next = 0
        self.in_flight = 0
        if self.sent.count == 0:
            clear_flights(&self.sent)
        if self.received.count == 0:
            clear_flights(&self.received)
        self._drop_queued_qos0()
        if self.queued == 0:
            self._drop_queue()
        return 0

    def discard_state(self):
        """Forget queue and flights: the session ends, or starts clean [MQTT-3.1.2-4]."""
        self.discard()

    cdef int discard(self) except -1:
        refuse_while_deciding(self.plane)
        if self.store_id and self.plane.journal is not None:
            self._let_go_messages()
        self._drop_queue()
        clear_flights(&self.sent)
        clear_flights(&self.received)
        self.sent_bytes = self.received_bytes = 0
        return 0

    cdef int _let_go_messages(self) except -1:
        """Drop the rows of its messages: no store has to look for them when the session goes."""
        cdef uint32_t i
        cdef Flight *flight
        cdef Delivery *delivery
        for i in range(self.queued):
            delivery = &self._queue[(self._queue_head + i) & (self._queue_capacity - 1)]
            if delivery.position:
                self.plane.journal.drop_queued(self.store_id, delivery.position, <Message>delivery.message)
        if self.sent.slots != NULL:
            for i in range(<uint32_t>1 << self.sent.bits):
                flight = &self.sent.slots[i]
                if flight.packet_id and flight.position:
                    self.plane.journal.drop_queued(self.store_id, flight.position,
                                                   <Message>flight.message if flight.message != NULL else None)
        if self.received.slots != NULL:
            for i in range(<uint32_t>1 << self.received.bits):
                flight = &self.received.slots[i]
                if flight.packet_id:
                    self.plane.journal.drop_received(self.store_id, flight.packet_id, <Message>flight.message)
        return 0

    def keep(self, uint64_t store_id):
        """Keep the session from now on, and what it has already; its subscriptions are the caller's business."""
        cdef uint32_t i
        cdef Flight *flight
        cdef Delivery *delivery
        cdef list flights = []
        self.store_id = store_id
        if self.sent.slots != NULL:
            for i in range(<uint32_t>1 << self.sent.bits):
                if self.sent.slots[i].packet_id:
                    flights.append((self.sent.slots[i].order, self.sent.slots[i].packet_id))
        flights.sort()
        for _, packet_id in flights:
            flight = find_flight(&self.sent, packet_id)
            if flight.message != NULL:
                flight.position = self._keep(<Message>flight.message, 1 if flight.state == AWAIT_PUBACK else 2,
                                             flight.flags, flight.via, flight.packet_id, 0)
            else:
                flight.position = self._position = self.plane.journal.new_position()
                self.plane.journal.put_queued(store_id, flight.position, None, 2, flight.flags & ~IN_WINDOW,
                                              flight.packet_id, True, b"", b"")
        for i in range(self.queued):
            delivery = &self._queue[(self._queue_head + i) & (self._queue_capacity - 1)]
            if delivery.qos:
                delivery.position = self._keep(<Message>delivery.message, delivery.qos, delivery.flags, delivery.via, 0, 0)
        if self.received.slots != NULL:
            for i in range(<uint32_t>1 << self.received.bits):
                if self.received.slots[i].packet_id:
                    self.plane.journal.put_received(store_id, self.received.slots[i].packet_id,
                                                    <Message>self.received.slots[i].message)

    def restore_queued(self, Message message, uint64_t position, int qos, int flags, uint16_t packet_id,
                       bint is_released, bytes identifiers not None, bytes share_group not None):
        """Put back a message of the queue, or one in flight, that was kept; positions must grow.

        ``message``: None where the peer has it already (``is_released``). ValueError where this cannot be.
        """
        cdef Via via = None
        cdef PyObject *to_keep = NULL
        cdef Flight *flight
        if position <= self._position or not (1 + is_released) <= qos <= 2 or (message is None) != is_released:
            raise ValueError("no message of a session's queue")
        if packet_id and find_flight(&self.sent, packet_id) != NULL:
            raise ValueError(f"the packet identifier {packet_id} cannot be in flight")
        if is_released and packet_id == 0:
            raise ValueError("a released message without packet identifier")
        if identifiers or share_group:
            via = Via.__new__(Via)
            via.identifiers = identifiers
            via.group = share_group if share_group else None
            to_keep = <PyObject *>via
        self._position = position
        if message is not None:
            message.store_references += 1
        if packet_id == 0:
            return self._append(message, qos, flags, to_keep, position)
        flight = add_flight(&self.sent, packet_id)
        if message is not None:
            Py_INCREF(message)
            flight.message = <PyObject *>message
            self.sent_bytes += size_of(message)
        Py_XINCREF(to_keep)
        flight.via = to_keep
        flight.position = position
        flight.flags = flags & ~IN_WINDOW
        flight.state = AWAIT_PUBACK if qos == 1 else AWAIT_PUBCOMP if is_released else AWAIT_PUBREC
        flight.order = self._order
        self._order += 1
        self._last_packet_id = packet_id

    def restore_received(self, uint16_t packet_id, Message message not None):
        """Put back a QoS 2 message of the peer's that was kept. ValueError where the identifier is in use or 0."""
        if packet_id == 0 or find_flight(&self.received, packet_id) != NULL:
            raise ValueError(f"the packet identifier {packet_id} cannot be received")
        message.store_references += 1
        self._hold(packet_id, message)

    def kept_state(self):
        """For tests: what of it is kept, as (queued, received), in order."""
        cdef uint32_t i
        cdef Flight *flight
        cdef Delivery *delivery
        cdef list queued = []
        cdef list received = []
        if self.sent.slots != NULL:
            for i in range(<uint32_t>1 << self.sent.bits):
                flight = &self.sent.slots[i]
                if flight.packet_id:
                    queued.append((flight.position, None if flight.message == NULL else <Message>flight.message,
                                   1 if flight.state == AWAIT_PUBACK else 2, flight.packet_id,
                                   flight.state == AWAIT_PUBCOMP))
        for i in range(self.queued):
            delivery = &self._queue[(self._queue_head + i) & (self._queue_capacity - 1)]
            if delivery.qos:
                queued.append((delivery.position, <Message>delivery.message, delivery.qos, 0, False))
        if self.received.slots != NULL:
            for i in range(<uint32_t>1 << self.received.bits):
                if self.received.slots[i].packet_id:
                    received.append((self.received.slots[i].packet_id, <Message>self.received.slots[i].message))
        queued.sort(key=lambda entry: entry[0])
        received.sort(key=lambda entry: entry[0])
        return queued, received

    cdef list take_shared(self):
        """Take out what another member of a share group may have instead, now that this session ends.

        QoS 1 that was not acknowledged and whatever was not sent; of QoS 2 nothing that was sent
        [MQTT-4.8.2-5]. A list of (message, qos, Via), oldest first.
        """
        cdef list found = []
        cdef uint32_t i
        cdef Flight *flight
        cdef Delivery *delivery
        if self.sent.slots != NULL:
            for i in range(<uint32_t>1 << self.sent.bits):
                flight = &self.sent.slots[i]
                if flight.packet_id and flight.state == AWAIT_PUBACK and flight.via != NULL \
                        and (<Via>flight.via).group is not None:
                    found.append((flight.order, <Message>flight.message, 1, <Via>flight.via))
            found.sort(key=lambda entry: entry[0])
            found = [entry[1:] for entry in found]
        for i in range(self.queued):
            delivery = &self._queue[(self._queue_head + i) & (self._queue_capacity - 1)]
            if delivery.qos and delivery.via != NULL and (<Via>delivery.via).group is not None:
                found.append((<Message>delivery.message, delivery.qos, <Via>delivery.via))
        return found

    # --- towards the peer ---

    cdef int deliver(self, Message message, uint8_t qos, uint8_t flags, PyObject *via) except -1:
        """Send the message or queue it; 1, or 0 where it had to be dropped. QoS 0 only to a connected session."""
        cdef Outlet outlet = self.outlet
        if outlet is not None and self.queued == 0 and self._resend == NULL \
                and pending(&outlet.out) < self.plane.write_max_bytes \
                and (qos == 0 or window_is_open(self)) and not (qos == 2 and self._may_not_begin()):
            return self._send(message, qos, flags, via, 0)
        return self._enqueue(message, qos, flags, via)

    cdef int _enqueue(self, Message message, uint8_t qos, uint8_t flags, PyObject *via) except -1:
        cdef size_t size = size_of(message)
        cdef uint32_t most = self.queue_max_messages or self.plane.queue_max_messages
        cdef uint64_t most_bytes = self.queue_max_bytes or self.plane.queue_max_bytes
        if not flags & DELIVER_EXEMPT and (
                self.queued - self.exempt >= most or self.queued_bytes + size > most_bytes):
            self.dropped += 1
            self.plane.counters.dropped_queue_full += 1
            if self.plane.message_dropped is not None:
                self.plane.tell_dropped(self, message, "queue full")
            return 0
        return self._append(message, qos, flags, via,
                            self._keep(message, qos, flags, via, 0, 0) if qos and self.store_id else 0)

    cdef uint64_t _keep(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint16_t packet_id,
                        uint64_t position) except 0:
        """Put the row of a message of this session; its position. ``position``: of the row that it has, or 0."""
        cdef bytes identifiers = b""
        cdef bytes group = b""
        if position == 0:
            position = self._position = self.plane.journal.new_position()
            self.plane.journal.refer(message)
        if via != NULL:
            identifiers = (<Via>via).identifiers
            if (<Via>via).group is not None:
                group = (<Via>via).group
        self.plane.journal.put_queued(self.store_id, position, message, qos, flags & ~IN_WINDOW, packet_id, False,
                                      identifiers, group)
        return position

    cdef int _append(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint64_t position) except -1:
        """To the end of the queue, whatever its limits."""
        cdef Delivery *ring
        cdef Delivery *delivery
        cdef uint32_t capacity, i
        cdef size_t size = size_of(message)
        if self.queued == self._queue_capacity:
            capacity = self._queue_capacity * 2 if self._queue_capacity else 4
            ring = <Delivery *>malloc(capacity * sizeof(Delivery))
            if ring == NULL:
                raise MemoryError()
            for i in range(self.queued):
                ring[i] = self._queue[(self._queue_head + i) & (self._queue_capacity - 1)]
            free(self._queue)
            self._queue = ring
            self._queue_capacity = capacity
            self._queue_head = 0
        delivery = &self._queue[(self._queue_head + self.queued) & (self._queue_capacity - 1)]
        Py_INCREF(message)
        Py_XINCREF(via)
        delivery.message = <PyObject *>message
        delivery.via = via
        delivery.position = position
        delivery.qos = qos
        delivery.flags = flags
        if flags & DELIVER_EXEMPT:
            self.exempt += 1
        else:
            self.queued_bytes += size
        self.queued += 1
        self.queued_qos0 += qos == 0
        return 1

    cdef int pump(self) except -1:
        """Send from the backlog as far as the window and the write buffer reach."""
        cdef Delivery delivery
        cdef Message message
        while self.outlet is not None and pending(&self.outlet.out) < PUMP_BYTES:
            if self._resend != NULL:
                if not self._send_again():
                    break
                continue
            if self.queued == 0:
                break
            delivery = self._queue[self._queue_head]
            if delivery.qos and not window_is_open(self) or delivery.qos == 2 and self._may_not_begin():
                break
            message = <Message>delivery.message
            self._queue_head = (self._queue_head + 1) & (self._queue_capacity - 1)
            self.queued -= 1
            self.queued_qos0 -= delivery.qos == 0
            if delivery.flags & DELIVER_EXEMPT:
                self.exempt -= 1
            else:
                self.queued_bytes -= size_of(message)
            try:
                if is_expired(message, self.plane.now):
                    self.plane.counters.dropped_expired += 1     # [MQTT-3.3.2-5]
                    if delivery.position:
                        self.plane.journal.drop_queued(self.store_id, delivery.position, message)
                    if self.plane.message_dropped is not None:
                        self.plane.tell_dropped(self, message, "expired")
                elif self.may_receive(message):
                    self._send(message, delivery.qos, delivery.flags, delivery.via, delivery.position)
                elif delivery.position:
                    self.plane.journal.drop_queued(self.store_id, delivery.position, message)
            finally:
                Py_DECREF(message)
                Py_XDECREF(delivery.via)
        if self.queued == 0 and self._queue_capacity > 64:
            self._drop_queue()
        return 0

    cdef bint _may_not_begin(self) noexcept:
        """Whether a message of QoS 2 must not be sent now: its packet identifier could not be kept, and all that is
        written behind it would wait for that."""
        return self.store_id != 0 and self.plane.journal is not None and not is_usable(self.plane.journal)

    cdef int _send(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint64_t position) except -1:
        """``position``: of its row in the store, where it comes from the queue and has one."""
        cdef Flight *flight
        cdef uint16_t packet_id = 0
        cdef int written
        if qos == 0:
            written = self._write(message, 0, flags, via, 0, False)
            self._tell_sent(message, written)
            return 1
        packet_id = self._next_packet_id()
        # The place first: a packet that has been written must be in flight.
        add_flight(&self.sent, packet_id)
        try:
            if self.store_id and (qos == 2 or position == 0 or is_usable(self.plane.journal)):
                # After a restart it is sent again under this packet identifier [MQTT-4.4.0-1]. Of QoS 2 that must be
                # kept before the peer sees it: it may have the message by then.
                position = self._keep(message, qos, flags, via, packet_id, position)
                if qos == 2 and self.outlet.durability:
                    self.outlet.hold_back(self.outlet.durability == 2)
            written = self._write(message, qos, flags, via, packet_id, False)
        except BaseException:
            remove_flight(&self.sent, find_flight(&self.sent, packet_id))
            raise
        flight = find_flight(&self.sent, packet_id)
        self._tell_sent(message, written)
        if not written:
            remove_flight(&self.sent, flight)
            if position:
                self.plane.journal.drop_queued(self.store_id, position, message)
            return 1            # too large for the peer: as if it had been delivered [MQTT-3.1.2-25]
        Py_INCREF(message)
        Py_XINCREF(via)
        flight.message = <PyObject *>message
        flight.via = via
        flight.position = position
        self.sent_bytes += size_of(message)
        flight.flags = flags | IN_WINDOW
        flight.state = AWAIT_PUBACK if qos == 1 else AWAIT_PUBREC
        flight.order = self._order
        self._order += 1
        self.in_flight += 1
        return 1

    cdef int _tell_sent(self, Message message, int written) except -1:
        """Tell who watches that a message was written, or was too large for the peer."""
        if written:
            if self.plane.message_delivered is not None:
                self.plane.tell(self.plane.message_delivered, self, message)
        elif self.plane.message_dropped is not None:
            self.plane.tell_dropped(self, message, "too large for the client" if self.outlet.mount is None else
                                    "too large for the client, or not below its mount point")
        return 0

    cdef int _write(self, Message message, uint8_t qos, uint8_t flags, PyObject *via, uint16_t packet_id,
                    bint dup) except -1:
        """Append the PUBLISH to the outlet; 1, or 0 where it is above the peer's Maximum Packet Size."""
        cdef Outlet outlet = self.outlet
        cdef Parts parts
        cdef const unsigned char *extra = NULL
        cdef uint32_t extra_size = 0
        parts_of(message, &parts)
        if via != NULL and outlet.layout == LAYOUT_5:
            extra = <const unsigned char *>PyBytes_AS_STRING((<Via>via).identifiers)
            extra_size = <uint32_t>PyBytes_GET_SIZE((<Via>via).identifiers)
        return write_to(outlet, &parts, qos, flags & DELIVER_RETAIN, dup, packet_id,
                        seconds_left(message, self.plane.now), extra, extra_size)

    cdef int _send_again(self) except -1:
        """Send the next of what an earlier connection left; 0 where the window is full."""
        cdef Flight *flight = find_flight(&self.sent, self._resend[self._resend_next])
        if flight != NULL and self.in_flight >= self.window:
            return 0
        self._resend_next += 1
        if flight != NULL:      # acknowledged meanwhile, by a peer that had kept it
            if flight.state == AWAIT_PUBCOMP:
                write_ack(self.outlet.room(4), PUBREL, flight.packet_id, <Layout>self.outlet.layout, 0)
                self.plane.counters.packets_sent[PUBREL] += 1
                flight.flags |= IN_WINDOW
                self.in_flight += 1
            elif not self.may_receive(<Message>flight.message):
                self._landed(flight)
            elif self._write(<Message>flight.message, 1 if flight.state == AWAIT_PUBACK else 2, flight.flags,
                             flight.via, flight.packet_id, True):      # [MQTT-3.3.1-1]
                flight.flags |= IN_WINDOW
                self.in_flight += 1
            else:
                self._landed(flight)
        if self._resend_next == self._resend_count:
            free(self._resend)
            self._resend = NULL
        return 1

    cdef uint16_t _next_packet_id(self) noexcept:
        """An identifier that is not in use [MQTT-2.2.1-4]; the window keeps some free."""
        while True:
            self._last_packet_id = 1 if self._last_packet_id == 65_535 else self._last_packet_id + 1
            if find_flight(&self.sent, self._last_packet_id) == NULL:
                return self._last_packet_id

    cdef int _landed(self, Flight *flight) except -1:
        if flight.position:
            self.plane.journal.drop_queued(
                self.store_id, flight.position, <Message>flight.message if flight.message != NULL else None)
        if flight.flags & IN_WINDOW:
            self.in_flight -= 1
        if flight.message != NULL:
            self.sent_bytes -= size_of(<Message>flight.message)
        remove_flight(&self.sent, flight)
        return 0

    cdef AckResult puback(self, uint16_t packet_id) except ACK_FAILED:
        cdef Flight *flight = find_flight(&self.sent, packet_id)
        if flight == NULL:
            return ACK_UNKNOWN
        if flight.state != AWAIT_PUBACK:
            return ACK_WRONG
        self._landed(flight)
        return ACK_TAKEN

    cdef AckResult pubrec(self, uint16_t packet_id, bint refused) except ACK_FAILED:
        """``refused``: with a reason code of 0x80 or via, which ends the flow [MQTT-4.4.0-2]."""
        cdef Flight *flight = find_flight(&self.sent, packet_id)
        cdef PyObject *message
        cdef PyObject *via
        if flight == NULL:
            return ACK_UNKNOWN
        if flight.state == AWAIT_PUBACK:
            return ACK_WRONG
        if refused:
            self._landed(flight)
            return ACK_TAKEN
        message = flight.message
        via = flight.via
        if flight.position and message != NULL:
            # Kept before PUBREL is sent: from then on the message must not be sent again.
            self.plane.journal.put_queued(self.store_id, flight.position, None, 2, flight.flags & ~IN_WINDOW,
                                          packet_id, True, b"", b"")
            self.plane.journal.let_go(<Message>message)
        if message != NULL:
            self.sent_bytes -= size_of(<Message>message)
        flight.message = flight.via = NULL
        flight.state = AWAIT_PUBCOMP        # the message has arrived: only the identifier is kept
        Py_XDECREF(message)
        Py_XDECREF(via)
        return ACK_TAKEN

    cdef AckResult pubcomp(self, uint16_t packet_id) except ACK_FAILED:
        cdef Flight *flight = find_flight(&self.sent, packet_id)
        if flight == NULL:
            return ACK_UNKNOWN
        if flight.state != AWAIT_PUBCOMP:
            return ACK_WRONG
        self._landed(flight)
        return ACK_TAKEN

    cdef bint may_receive(self, Message message) except -1:
        """Whether the message may be delivered now: what was queued or in flight may not be, any more."""
        if self.rules is None or ask_may_receive(self, message.topic):
            return True
        self.plane.counters.dropped_denied += 1
        if self.plane.message_dropped is not None:
            self.plane.tell_dropped(self, message, "not allowed")
        return False

    # --- from the peer ---

    cdef int hold(self, uint16_t packet_id, Message message) except -1:
        """Keep a QoS 2 message until its PUBREL. Its identifier must be free: one in use means, sent again."""
        if self.store_id:
            self.plane.journal.put_received(self.store_id, packet_id, message)
        return self._hold(packet_id, message)

    cdef int _hold(self, uint16_t packet_id, Message message) except -1:
        cdef Flight *flight = add_flight(&self.received, packet_id)
        Py_INCREF(message)
        flight.message = <PyObject *>message
        flight.state = RECEIVED
        self.received_bytes += size_of(message)
        return 0

    cdef bint answer_later(self, uint16_t packet_id) except -1:
        """Whether the PUBREC for a message that was just held has to wait: the peer has more of them unreleased
        than the Receive Maximum allows. It comes when another is released (``next_answer``)."""
        if self._unanswered is not None and packet_id in self._unanswered:
            return True
        if self.received.count <= self.receive_maximum and self.received_bytes <= self.plane.queue_max_bytes:
            return False
        if self._unanswered is None:
            self._unanswered = []
        self._unanswered.append(packet_id)
        return True

    cdef uint16_t next_answer(self) except? 0:
        """The packet identifier whose PUBREC may be sent now; 0: none waits."""
        if self._unanswered is None or (self.received.count > 1 and (
                self.received.count > self.receive_maximum
                or self.received_bytes > self.plane.queue_max_bytes)):
            return 0
        packet_id = self._unanswered.pop(0)
        if not self._unanswered:
            self._unanswered = None
        return packet_id

    cdef Message held(self, uint16_t packet_id):
        """The message held under this identifier; None where there is none."""
        cdef Flight *flight = find_flight(&self.received, packet_id)
        return None if flight == NULL else <Message>flight.message

    cdef Message release(self, uint16_t packet_id):
        """The message held under this identifier, which is free from now on; None where there is none."""
        cdef Flight *flight = find_flight(&self.received, packet_id)
        cdef Message message
        if flight == NULL:
            return None
        message = <Message>flight.message
        if self.store_id:
            self.plane.journal.drop_received(self.store_id, packet_id, message)
        self.received_bytes -= size_of(message)
        remove_flight(&self.received, flight)
        if self._unanswered is not None and packet_id in self._unanswered:
            self._unanswered.remove(packet_id)
            if not self._unanswered:
                self._unanswered = None
        return message
