"""One connection's protocol state: bytes in, packets handled or handed out, bytes out.

PUBLISH, the acknowledgements and PINGREQ are handled here. Every other packet leaves as bytes to the
handler, a Python object with

    connect(link, body)                     the first packet, a CONNECT
    packet(link, first, body)               a later CONNECT, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH;
                                            before ``open`` only the last two
    violation(link, code, text, rule)       the peer broke a rule: the handler ends the connection
    denied(link, topic)                     a message to this topic was not allowed; the handler logs it
    undecided(link, topic)                  whether it is allowed is to be found out: the handler pauses the link, or
                                            has the answer when it returns
    lost(link, cause)                       the connection is gone, and not because the handler ended it
    closed(link)                            the last call of all, however it ended

The handler may answer at once, or pause the link and resume it later: until then nothing more of this
link is looked at, so the order of its packets never changes.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from noctule._speedups.buffers cimport Cursor, WriteBuffer, left, pending
from noctule._speedups.codec cimport (
    ALIAS_SIZE, AUTH, CONNACK, CONNECT, DISCONNECT, FRAME_CUT, FRAME_MALFORMED, FRAME_WHOLE, LAYOUT_3, LAYOUT_5, NO_OFFSET,
    PINGREQ, PINGRESP, PUBACK, PUBCOMP, PUBLISH, PUBREC, PUBREL, SUBACK, SUBSCRIBE, UNSUBACK, UNSUBSCRIBE, Fault,
    Frame, FrameResult, Layout, PublishFields, check_topic_name, read_ack, read_publish, scan_frame, write_ack,
)
from noctule._speedups.message cimport Message, is_expired, message_of
from noctule._speedups.journal cimport has_failed, is_heavy, takes_messages
from noctule._speedups.outlet cimport Outlet, refuse_while_deciding, sendable
from noctule._speedups.router cimport Route, Router, is_current
from noctule._speedups.session cimport (
    ACK_TAKEN, ACK_UNKNOWN, ACK_WRONG, AckResult, Session, find_flight, has_backlog,
)
from noctule._speedups.topics cimport is_reserved

cdef enum:
    NO_MATCHING_SUBSCRIBERS = 0x10
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    PACKET_IDENTIFIER_NOT_FOUND = 0x92
    RECEIVE_MAXIMUM_EXCEEDED = 0x93
    TOPIC_ALIAS_INVALID = 0x94
    PACKET_TOO_LARGE = 0x95
    TOPIC_NAME_INVALID = 0x90
    QOS_NOT_SUPPORTED = 0x9B
    TOPIC_BYTES_MAX = 65_535
    NOT_AUTHORIZED = 0x87
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83
    QUOTA_EXCEEDED = 0x97
    # SUBSCRIBE and the like in one go: a client that sends thousands of them in one piece waits for the others.
    CONTROL_PACKETS_MAX = 32
    # A packet without a payload of the peer's choosing need not be larger: SUBSCRIBE and UNSUBSCRIBE
    # have the packet limit, and these have next to nothing.
    ACK_BYTES_MAX = 65_536
    NO_PACKET_MAX = 0xFFFFFFFF
    # What the handling of a packet comes to.
    STOP = 0                # the link goes no further
    GO_ON = 1
    AGAIN = 2               # the link waits, and handles the same packet again
    RIGHTS_UNKNOWN = 16     # session.RIGHTS_UNKNOWN
    RIGHTS_ALL = 11

NEW, DECIDING, OPEN, ENDING, CLOSED = LINK_NEW, LINK_DECIDING, LINK_OPEN, LINK_ENDING, LINK_CLOSED


cdef inline void _fault(Fault *fault, uint8_t reason_code, const char *text, const char *rule) noexcept:
    fault.reason_code = reason_code
    fault.text = text
    fault.rule = rule


cdef const char *_what_came_instead(uint8_t first) noexcept:
    """What a first byte that is no CONNECT's looks like: whoever reads it in the log looks at the client's settings."""
    if first == 0x16:
        return b"the first packet is not CONNECT: this looks like TLS, which is not spoken on this port"
    if first == c'G' or first == c'H' or first == c'O':       # GET, HEAD, OPTIONS
        return b"the first packet is not CONNECT: this looks like HTTP or WebSocket, which is not spoken on this port"
    return b"the first packet is not CONNECT"


cdef inline bint _is_allowed(int rights, uint8_t qos, bint retain) noexcept:
    """Whether rights as ``Access.publish_rights`` gives them cover a message (session.RIGHT_*)."""
    return rights & 1 and (not retain or rights & 2) and qos <= rights >> 2


@cython.no_gc
cdef class Link(Outlet):
    """One connection. ``wake()`` is called when there is something to send (``take_output``).

    ``peer`` names the other side for the log, ``origin`` says what is known of it; both may be set as more becomes
    known, until CONNECT. ``filter`` belongs to whoever carries the bytes. The link refers to its session and its session
    to it while it is open; whoever ends it (``close``, ``end``) unties them.
    """

    def __init__(self, Router router not None, handler, str peer not None, origin=None):
        self.set_up(router, handler, origin)
        self._peer = peer

    cdef int set_up(self, Router router, object handler, object origin) except -1:
        self.router = router
        self.origin = origin
        self.plane = router.plane
        self.handler = handler
        self.packet_max = NO_PACKET_MAX
        self.qos_max = 2
        self.last_received = self.plane.now
        self.plane.counters.sockets_opened += 1
        return 0

    @property
    def peer(self):
        """How the other side is called in the log."""
        if self._peer is None:      # of a socket without a filter, whose origin stays what it is
            address = self.origin.address
            self._peer = f"[{address}]:{self._peer_port}" if ":" in address else f"{address}:{self._peer_port}"
        return self._peer

    @peer.setter
    def peer(self, str peer not None):
        self._peer = peer

    def __dealloc__(self):
        self._drop_buffers()

    cdef void _drop_buffers(self) noexcept:
        if self.plane is not None:
            self.plane.pool.give_back(&self.rest)

    # --- what the handlers call ---

    def await_decision(self, int version, uint32_t packet_max=0xFFFFFFFF):
        """CONNECT is read, and whether it is accepted is decided later: with ``open`` or with ``end``.

        The deadline that the link had for its CONNECT is not moved: it is the one for the decision too.
        """
        self.layout = LAYOUT_5 if version >= 5 else LAYOUT_3
        self.packet_max = packet_max
        self.state = LINK_DECIDING

    def open(self, Session session not None, int version, uint16_t keep_alive_s,
             uint32_t receive_maximum=65_535, uint32_t packet_max=0xFFFFFFFF, uint16_t alias_max=0):
        """CONNECT is accepted: packets of ``version`` are read from now on, in the name of ``session``.

        The handler writes the CONNACK before, since delivery begins here [MQTT-3.2.0-1].
        """
        self.start(session, version, keep_alive_s, receive_maximum, packet_max, alias_max)

    cdef int start(self, Session session, int version, uint16_t keep_alive_s, uint32_t receive_maximum,
                   uint32_t packet_max, uint16_t alias_max) except -1:
        self.layout = LAYOUT_5 if version >= 5 else LAYOUT_3
        self._takes_dup = version == 3
        self.packet_max = packet_max
        self.allow_aliases(alias_max)
        self.takes_as_is = packet_max == NO_PACKET_MAX and self.alias_count == 0 and self.mount is None
        self.state = LINK_OPEN
        self.session = session
        self.keep_alive_s = keep_alive_s
        self.packet_max_in = <uint32_t>self.plane.packet_max_bytes
        self.alias_max_in = self.plane.alias_max_in
        self.last_received = self.opened_at = self.plane.now
        if keep_alive_s:
            self.plane.deadlines.schedule_at(self, self.plane.now + 1.5 * keep_alive_s)
        else:
            self.plane.deadlines.forget(self)
        session.attach_to(self, receive_maximum)
        return 0

    def mount_at(self, bytes prefix not None):
        """Before ``open``: put this before every topic that the peer publishes to, and take it off what it gets."""
        self.mount = prefix or None

    def restrict(self, uint32_t packet_max_in, uint8_t qos_max):
        """What the peer may send from now on: the largest packet in bytes, and the highest QoS."""
        self.packet_max_in = packet_max_in
        self.qos_max = qos_max

    def write(self, bytes packet not None):
        """Append a whole packet; it is sent at the end of the turn.

        Nothing happens on a link that has ended, nor with a packet that the peer would not take.
        """
        cdef Py_ssize_t size = PyBytes_GET_SIZE(packet)
        if self.state >= LINK_ENDING or size == 0:
            return
        if size > self.packet_max:
            self.plane.counters.dropped_too_large += 1      # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
            return
        memcpy(self.room(size), PyBytes_AS_STRING(packet), size)
        self.plane.counters.packets_sent[<unsigned char>packet[0] >> 4] += 1

    def pause(self):
        """Look at nothing more of this link until ``resume``."""
        self.is_paused = True

    def resume(self):
        """Go on with what has come meanwhile. The caller flushes the plane afterwards."""
        if not self.is_paused:
            return
        refuse_while_deciding(self.plane)
        self.is_paused = False
        self.last_received = self.plane.now     # who was not listened to has not been silent
        if self.state < LINK_ENDING:
            self.plane.mark(self)               # whoever carries the bytes reads again, also if nothing is written
        if self.state >= LINK_ENDING or self._is_parsing:
            return              # within the handler's call: the packets go on after it
        self.go_on()

    def go_on(self):
        """Handle what has been kept, another go of it. The caller flushes the plane afterwards."""
        cdef WriteBuffer held
        self.has_more = False
        if self.is_paused or self.is_stalled or self.state >= LINK_ENDING or self._is_parsing:
            return
        # What was kept may be many packets; it is taken out so that the rest of the last can go back in.
        held = self.rest
        self.rest.data = NULL
        self.rest.start = self.rest.end = self.rest.capacity = 0
        try:
            if pending(&held):
                self._handle(held.data + held.start, pending(&held))
        finally:
            self.plane.pool.give_back(&held)

    def end(self, bytes packet=b""):
        """Send ``packet`` and what is written already, then close. What still comes in is thrown away.

        The deadline of the link is the caller's: ``overdue`` says yes when it comes.
        """
        if self.state >= LINK_ENDING:
            return
        refuse_while_deciding(self.plane)
        self.write(packet)
        self._untie(True)
        self.state = LINK_ENDING
        self.is_paused = False      # the end of what comes is waited for
        self.plane.mark(self)

    def close(self):
        """Close now. What is written and not sent is lost."""
        if self.state == LINK_CLOSED:
            return
        refuse_while_deciding(self.plane)
        self._untie(True)
        self.shut()
        self.handler.closed(self)
        self.handler = None

    cdef int shut(self) except -1:
        """Close what is untied; ``handler.closed`` is the caller's business."""
        self.state = LINK_CLOSED
        self.plane.deadlines.forget(self)
        self.hold_count = 0
        self.empty()
        self.release_transport()
        self.filter = None
        self.wake = None
        return 0

    cdef int _untie(self, bint remembers_client) except -1:
        cdef Session session = self.session
        self.session = None
        self._route = None
        self._aliases = None
        self._changed = None
        self._drop_buffers()
        if session is not None and session.outlet is self:
            if remembers_client:
                session.detach()
            else:
                session.leave()
        return 0

    @property
    def peer_packet_max(self):
        """The largest packet in bytes that the peer takes."""
        return self.packet_max

    def overdue(self, double now):
        """Whether the peer has kept silent too long, at this deadline of the link. If not, it waits for the next."""
        cdef double deadline
        if self.state != LINK_OPEN:
            return self.state != LINK_CLOSED
        if self.keep_alive_s == 0:
            return False
        if self.is_paused or self.is_stalled:
            self.last_received = now
        deadline = self.last_received + 1.5 * self.keep_alive_s     # [MQTT-3.1.2-22] [MQTT-3.1.2-24]
        if deadline <= now:
            return True
        self.plane.deadlines.schedule_at(self, deadline)
        return False

    cdef int release_transport(self) except -1:
        """Let go of whatever carries the bytes."""
        if self.wake is not None:
            self.wake()
        return 0

    # --- bytes out ---

    cdef int flush(self) except -1:
        if self.wake is not None:
            self.wake()
        return 0

    def take_output(self):
        """All that may be sent now, as bytes; the link forgets it."""
        cdef size_t size = sendable(self)
        cdef bytes output = PyBytes_FromStringAndSize(<char *>self.out.data + self.out.start, size)
        self.plane.counters.bytes_sent += size
        self.out.start += size
        if pending(&self.out) == 0:
            self.empty()
        return output

    @property
    def sendable_bytes(self):
        """Written, not yet sent, and free to go."""
        return sendable(self)

    def wait_for_journal(self):
        """What is written from now on waits until all is kept that the journal has collected so far.

        Nothing where there is no journal, or where this connection's acknowledgements wait for nothing.
        """
        if self.plane.journal is not None and self.durability and self.state < LINK_ENDING:
            Outlet.hold_back(self, self.durability == 2)

    def forget_held_back(self):
        """What waits for the journal is never sent: it will not be kept."""
        if self.hold_count:
            self.out.end = self.out.start + sendable(self)
            self.written = self.hold_positions[0]
            self.hold_count = 0
            self.untraced = 0

    def unstall(self):
        """Less waits for the journal: go on with what has come meanwhile. The caller flushes the plane afterwards."""
        refuse_while_deciding(self.plane)
        self.is_stalled = False
        self.last_received = self.plane.now     # who was not listened to has not been silent
        if self.state < LINK_ENDING:
            self.plane.mark(self)               # whoever carries the bytes reads again, also if nothing is written
        self.go_on()

    def output_sent(self):
        """What ``take_output`` gave has gone: the session's backlog moves up."""
        if self.session is not None and has_backlog(self.session):
            self.session.pump()

    # --- bytes in ---

    def feed(self, data):
        """Handle received bytes (any buffer); they are not referred to afterwards."""
        cdef Py_buffer view
        refuse_while_deciding(self.plane)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self.take(<const unsigned char *>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    def lose(self, str cause not None):
        """The connection is gone: the peer closed it, or the network did."""
        self.gone(cause)

    cdef int gone(self, str cause) except -1:
        try:
            if self.state <= LINK_OPEN:
                self.handler.lost(self, cause)
        finally:
            self.close()        # also where the handler fails
        return 0

    cdef int take(self, const unsigned char *data, Py_ssize_t size) except -1:
        self.plane.counters.bytes_received += size
        self.received += size
        if self.state >= LINK_ENDING:
            return 0
        if self.is_paused or self.has_more or self.is_stalled:
            return self._keep(data, size)
        return self._handle(data, size)

    cdef int _handle(self, const unsigned char *data, Py_ssize_t size) except -1:
        cdef Cursor cursor
        cursor.at = data
        cursor.end = data + size
        self._acknowledged = False
        self._control_packets = 0
        self._is_parsing = True
        try:
            if pending(&self.rest) and not self._complete_rest(&cursor):
                return 0
            self._parse(&cursor)
        finally:
            self._is_parsing = False
        if left(&cursor) and self.state < LINK_ENDING:
            self._keep(cursor.at, left(&cursor))
        if self._acknowledged and self.session is not None and has_backlog(self.session):
            self.session.pump()
        return 0

    cdef int _keep(self, const unsigned char *data, size_t size) except -1:
        """Keep bytes until more come; the buffer grows with what has come, not with what was announced."""
        if size == 0:
            return 0
        self.plane.pool.make_room(&self.rest, size)
        memcpy(self.rest.data + self.rest.end, data, size)
        self.rest.end += size
        return 0

    cdef int _complete_rest(self, Cursor *cursor) except -1:
        """Finish the packet that is kept in part, with just as many bytes as it lacks. 0 where they do not suffice."""
        cdef Cursor kept
        cdef Frame frame
        cdef FrameResult result
        cdef size_t more
        while True:
            kept.at = self.rest.data + self.rest.start
            kept.end = self.rest.data + self.rest.end
            result = scan_frame(&kept, &frame)
            if result != FRAME_CUT:
                break
            if not self._size_allowed(&frame):
                return 0
            # Until the header is whole its end is not known: byte by byte.
            more = 1 if frame.size == 0 else frame.size - pending(&self.rest)
            if more > <size_t>left(cursor):
                more = left(cursor)
            if more == 0:
                return 0
            self._keep(cursor.at, more)
            cursor.at += more
        kept.at = self.rest.data + self.rest.start
        self._parse(&kept)
        if self.is_paused or self.has_more or self.is_stalled or self.state >= LINK_ENDING:
            # The packet itself is done with, unless it is to be handled again; what follows it waits in its place.
            if self.state < LINK_ENDING:
                if left(&kept) == 0:
                    self.plane.pool.give_back(&self.rest)
                self._keep(cursor.at, left(cursor))
                cursor.at = cursor.end
            return 0
        self.plane.pool.give_back(&self.rest)
        return 1

    cdef bint _size_allowed(self, const Frame *frame) except -1:
        """Whether a packet may be this large; the handler has been told where it may not."""
        cdef Fault fault
        cdef size_t most = self.packet_max_in
        if self.state == LINK_NEW:
            if frame.first != 0x10:
                _fault(&fault, PROTOCOL_ERROR, _what_came_instead(frame.first), b"MQTT-3.1.0-1")
                self._refuse(&fault)
                return False
            most = self.plane.connect_max_bytes
        elif self.state == LINK_DECIDING:
            if frame.first >> 4 != AUTH and frame.first >> 4 != DISCONNECT:
                _fault(&fault, PROTOCOL_ERROR, b"a packet before CONNACK that is neither AUTH nor DISCONNECT",
                       b"MQTT-3.1.2-30")
                self._refuse(&fault)
                return False
            most = min(self.plane.connect_max_bytes, <size_t>ACK_BYTES_MAX)
        elif not (frame.first >> 4 == PUBLISH or frame.first >> 4 == SUBSCRIBE or frame.first >> 4 == UNSUBSCRIBE):
            most = min(most, <size_t>ACK_BYTES_MAX)
        if frame.size > most:
            _fault(&fault, PACKET_TOO_LARGE, b"the packet is larger than the broker's maximum", b"MQTT-3.2.2-15")
            self._refuse(&fault)
            return False
        return True

    cdef int _parse(self, Cursor *cursor) except -1:
        """Handle every whole packet; the cursor stands on what is left."""
        cdef Frame frame
        cdef FrameResult result
        cdef Fault fault
        cdef Run run
        cdef const unsigned char *start
        cdef int outcome
        run.count = 0
        run.checked.block.at = run.checked.block.end = NULL
        while cursor.at < cursor.end and self.state < LINK_ENDING and not self.is_paused and not self.is_stalled:
            if self._control_packets >= CONTROL_PACKETS_MAX:
                self.has_more = True
                break
            start = cursor.at
            result = scan_frame(cursor, &frame)
            if result == FRAME_MALFORMED:
                self._flush_run(&run)
                _fault(&fault, MALFORMED_PACKET, b"the remaining length is malformed", b"MQTT-1.5.5-1")
                self._refuse(&fault)
                return 0
            if result == FRAME_CUT:
                self._flush_run(&run)
                self._size_allowed(&frame)
                return 0
            if frame.first >> 4 != PUBLISH or self.state != LINK_OPEN or frame.size > self.packet_max_in:
                self._flush_run(&run)
                if not self._size_allowed(&frame):
                    return 0
            self.plane.counters.packets_received[frame.first >> 4] += 1
            self.publishes_received += frame.first >> 4 == PUBLISH
            if self.plane.packet_received is not None and not self._is_shown:
                self.plane.tell(self.plane.packet_received, self,
                                PyBytes_FromStringAndSize(<const char *>start, frame.size))
            self._is_shown = False
            outcome = self._packet(&frame, start, &run)
            if outcome == AGAIN:
                self._is_shown = True
                self.plane.counters.packets_received[frame.first >> 4] -= 1
                self.publishes_received -= frame.first >> 4 == PUBLISH
                cursor.at = start
                break
            if outcome == STOP:
                break
            if self.plane.journal is not None and self.plane.journal.count != self._journal_count \
                    and is_heavy(self.plane.journal) and self.state < LINK_ENDING:
                self.is_stalled = True
                self.plane._stalled.append(self)
        self._flush_run(&run)
        return 0

    cdef int _packet(self, Frame *frame, const unsigned char *start, Run *run) except -1:
        """Handle one packet; STOP where the link ends here, AGAIN where it waits for a decision about it."""
        cdef Fault fault
        cdef int packet_type = frame.first >> 4
        self.last_received = self.plane.now
        if self.plane.journal is not None:
            self._journal_count = self.plane.journal.count
        if self.state == LINK_NEW:
            if self.plane.shortcut is not None and self.plane.shortcut.connect(self, &frame.body):
                return 1
            self.handler.connect(self, PyBytes_FromStringAndSize(<const char *>frame.body.at, left(&frame.body)))
            return 1
        if packet_type == PUBLISH:
            return self._publish(frame, start, run)
        if self._takes_dup and (packet_type == PUBREL or packet_type == SUBSCRIBE or packet_type == UNSUBSCRIBE):
            frame.first &= ~<uint8_t>0x08       # what was sent before is answered as if it had not been
        if PUBACK <= packet_type <= PUBCOMP:
            return self._acknowledgement(frame)
        if packet_type == PINGREQ:
            if frame.first != 0xC0 or left(&frame.body):
                _fault(&fault, MALFORMED_PACKET, b"PINGREQ has flags or a body", b"MQTT-2.1.3-1")
                return self._refuse(&fault)
            memcpy(self.room(2), b"\xD0\x00", 2)        # [MQTT-3.12.4-1]
            self.plane.counters.packets_sent[PINGRESP] += 1
            return 1
        if packet_type == 0 or (packet_type == AUTH and self.layout == LAYOUT_3):
            _fault(&fault, MALFORMED_PACKET, b"the packet type is reserved", b"MQTT-2.1.3-1")
            return self._refuse(&fault)
        if packet_type in (CONNACK, SUBACK, UNSUBACK, PINGRESP):
            _fault(&fault, PROTOCOL_ERROR, b"the packet type is one that only a server sends", b"")
            return self._refuse(&fault)
        if frame.first & 0x0F != (2 if packet_type == SUBSCRIBE or packet_type == UNSUBSCRIBE else 0):
            _fault(&fault, MALFORMED_PACKET, b"the packet has reserved flags", b"MQTT-2.1.3-1")
            return self._refuse(&fault)
        self._control_packets += 1
        if self.plane.shortcut is not None and self.plane.shortcut.packet(self, frame.first, &frame.body):
            return 1
        self.handler.packet(self, frame.first,
                            PyBytes_FromStringAndSize(<const char *>frame.body.at, left(&frame.body)))
        return 1

    cdef int _publish(self, Frame *frame, const unsigned char *start, Run *run) except -1:
        cdef PublishFields fields
        cdef Fault fault
        if read_publish(frame.first, frame.body, <Layout>self.layout, False, &run.checked, &fields, &fault) < 0:
            self._flush_run(run)
            return self._refuse(&fault)
        if fields.qos > self.qos_max:
            self._flush_run(run)
            _fault(&fault, QOS_NOT_SUPPORTED, b"a QoS above the listener's maximum", b"MQTT-3.2.2-11")
            return self._refuse(&fault)
        if fields.properties.alias_offset != NO_OFFSET:
            self._flush_run(run)
            if not self._resolve_alias(&fields, &fault):
                return self._refuse(&fault)
        if self.plane.message_received is not None or self.mount is not None:
            return self._publish_changed(&fields)
        if self._route is None or not is_current(self.router, self._route, fields.parts.topic, fields.parts.topic_size):
            self._flush_run(run)
            if check_topic_name(fields.parts.topic, fields.parts.topic_size, self.plane.levels_max, &fault) < 0:
                return self._refuse(&fault)
            self._route = self.router.route_of(fields.parts.topic, fields.parts.topic_size)
            self._route_rights = self._rights_on(self._route)
            if self._route_rights == RIGHTS_UNKNOWN:
                self._route = None
                return AGAIN
        self.plane.counters.publish_bytes_received += fields.parts.payload_size
        if not _is_allowed(self._route_rights, fields.qos, fields.retain):
            self._flush_run(run)
            return self._denied(&fields, None)
        if fields.qos == 0 and not fields.retain and fields.properties.alias == 0 and not self.plane.sees_messages:
            if run.count == 0:
                run.start = start
                run.payload_bytes = 0
            run.end = frame.body.end
            run.count += 1
            run.payload_bytes += fields.parts.payload_size
            return 1
        self._flush_run(run)
        return self._accept(&fields, None, self._route)

    cdef int _accept(self, PublishFields *fields, Message message, Route route) except -1:
        """Take a message that is allowed: publish it, or at QoS 2 hold it. ``message``: in place of what was received."""
        cdef Fault fault
        cdef int targets
        if fields.retain and fields.qos and self.layout == LAYOUT_5 and not self.router.has_room_for_retained() \
                and self._cannot_be_retained(fields, message):
            return self._acknowledge(PUBACK if fields.qos == 1 else PUBREC, fields.packet_id, QUOTA_EXCEEDED)
        if fields.qos and self.plane.journal is not None and not takes_messages(self.plane.journal) and (
                fields.qos == 1 or find_flight(&self.session.received, fields.packet_id) == NULL):
            return self._cannot_keep(fields)
        if fields.qos == 2:
            if find_flight(&self.session.received, fields.packet_id) == NULL:
                if not self._may_hold_more(&fault):
                    return self._refuse(&fault)
                # Delivered when it is released; until then the identifier stands for it [MQTT-4.3.3-10].
                if message is None:
                    message = message_of(fields, self.plane.now)
                self.session.hold(fields.packet_id, message)
            if self.session.answer_later(fields.packet_id):
                return 1        # an over-run of the Receive Maximum is slowed down first
            return self._acknowledge(PUBREC, fields.packet_id, 0 if route.count else NO_MATCHING_SUBSCRIBERS)
        targets = self.router.publish(route, NULL if message is not None else fields, message, self.session)
        if fields.qos == 1:
            return self._acknowledge(PUBACK, fields.packet_id, 0 if targets else NO_MATCHING_SUBSCRIBERS)
        return 1

    cdef bint _cannot_be_retained(self, PublishFields *fields, Message message) except -1:
        """Whether there are as many retained messages as there may be, and this would be one more."""
        if fields.qos == 2 and find_flight(&self.session.received, fields.packet_id) != NULL:
            return False        # it was taken when it came first
        if message is not None:
            return message.retain and message.payload_size and self.router.retained_is_full(message.topic)
        return fields.parts.payload_size != 0 and self.router.retained_is_full(
            PyBytes_FromStringAndSize(<const char *>fields.parts.topic, fields.parts.topic_size))

    cdef bint _may_hold_more(self, Fault *fault) noexcept:
        """Whether the session may hold another QoS 2 message; the fault where it may not."""
        if self.session.received.count >= 2 * self.session.receive_maximum:
            _fault(fault, RECEIVE_MAXIMUM_EXCEEDED, b"more unreleased QoS 2 messages than the Receive Maximum",
                   b"MQTT-3.3.4-7")
            return False
        if self.session.received_bytes > 2 * self.plane.queue_max_bytes:
            _fault(fault, QUOTA_EXCEEDED, b"more bytes of unreleased QoS 2 messages than a session may hold", b"")
            return False
        return True

    cdef int _cannot_keep(self, PublishFields *fields) except -1:
        """There is no room, or the store has failed: what would have to be acknowledged is refused."""
        cdef Fault fault
        cdef bint failed = has_failed(self.plane.journal)
        if self.layout == LAYOUT_5:
            return self._acknowledge(PUBACK if fields.qos == 1 else PUBREC, fields.packet_id,
                                     IMPLEMENTATION_SPECIFIC_ERROR if failed else QUOTA_EXCEEDED)
        # Below version 5 there is no refusal but the end of the connection.
        _fault(&fault, QUOTA_EXCEEDED, b"the broker's store takes nothing for now", b"")
        return self._refuse(&fault)

    cdef int _publish_changed(self, PublishFields *fields) except -1:
        """A PUBLISH that is mounted or shown to ``Plane.message_received`` first; access is checked on what comes of it."""
        cdef Fault fault
        cdef Message message
        cdef Route route
        cdef object answer
        cdef int rights
        if check_topic_name(fields.parts.topic, fields.parts.topic_size, self.plane.levels_max, &fault) < 0:
            return self._refuse(&fault)
        if fields.qos == 2 and find_flight(&self.session.received, fields.packet_id) != NULL:
            message = <Message>find_flight(&self.session.received, fields.packet_id).message
            return self._accept(fields, message, self.router.route_of(message.data, message.topic_size))
        message = self._changed     # asked already, before somebody was asked for the rights
        self._changed = None
        if message is None:
            message = message_of(fields, self.plane.now)
            if self.mount is not None:
                message = self._mounted(message, &fault)
                if message is None:
                    return self._refuse(&fault)
            if self.plane.message_received is not None:
                self.plane.is_deciding = True
                try:
                    answer = self.plane.message_received(self, message)
                finally:
                    self.plane.is_deciding = False
                if not isinstance(answer, Message):
                    self.plane.counters.publish_bytes_received += fields.parts.payload_size
                    return self._dropped(fields, <int>answer)
                message = <Message>answer
        route = self.router.route_of(message.data, message.topic_size)
        rights = self._rights_on(route)
        if rights == RIGHTS_UNKNOWN:
            self._changed = message
            return AGAIN
        if not _is_allowed(rights, message.qos, message.retain):
            self.plane.counters.publish_bytes_received += fields.parts.payload_size
            return self._denied(fields, message)
        self.plane.counters.publish_bytes_received += fields.parts.payload_size
        return self._accept(fields, message, route)

    cdef Message _mounted(self, Message message, Fault *fault):
        """The message below the mount point; None and the fault where that is no topic."""
        cdef bytes topic = self.mount + message.topic
        if PyBytes_GET_SIZE(topic) > TOPIC_BYTES_MAX:
            _fault(fault, TOPIC_NAME_INVALID, b"a topic name that is too long below the mount point", b"MQTT-4.7.3-3")
            return None
        if check_topic_name(<const unsigned char *>PyBytes_AS_STRING(topic), <uint16_t>PyBytes_GET_SIZE(topic),
                            self.plane.levels_max, fault) < 0:
            return None
        return Message(topic, message.payload, message.qos, message.retain, message.properties, self.plane.now)

    cdef int _dropped(self, PublishFields *fields, int reason_code) except -1:
        """A plugin has taken the message out: it goes nowhere, and is acknowledged with what the plugin says."""
        if fields.qos == 0:
            return 1
        if fields.qos == 2 and reason_code < 0x80:
            if self._dropped_ids is None or len(self._dropped_ids) >= self.session.receive_maximum:
                self._dropped_ids = set()       # it over-runs what it may send; PUBCOMP will say that it knows nothing
            self._dropped_ids.add(fields.packet_id)
        return self._acknowledge(PUBACK if fields.qos == 1 else PUBREC, fields.packet_id, <uint8_t>reason_code)

    cdef int _rights_on(self, Route route) except -1:
        """What the session may do at the route's topic. The route remembers that until rights change, or another asks."""
        if is_reserved(route.topic, route.topic_size):
            return 0
        if self.session.rules is None:
            return RIGHTS_ALL
        if route.judged_rules_number == self.session.rules_number \
                and route.judged_generation == self.router.access_generation:
            return route.judged_rights
        return self._judge(route)

    cdef int _judge(self, Route route) except -1:
        """Ask for the rights, and have the route remember them."""
        cdef Session session = self.session
        cdef uint64_t generation = self.router.access_generation
        cdef uint64_t number = session.rules_number
        cdef bytes name
        cdef object rights = None
        cdef bint has_asked = False
        name = PyBytes_FromStringAndSize(<const char *>route.topic, route.topic_size)
        while rights is None:
            self.plane.is_deciding = True
            try:
                rights = session.rules.publish_rights(name)
            finally:
                self.plane.is_deciding = False
            if rights == RIGHTS_UNKNOWN:
                if not has_asked:
                    has_asked = True
                    self.handler.undecided(self, name)
                    if not self.is_paused and self.state < LINK_ENDING:
                        rights = None
                        continue        # the answer was there at once
                if self.is_paused or self.state >= LINK_ENDING:
                    return RIGHTS_UNKNOWN
                rights = 0              # nobody knows: no
        route.judged_rights = rights
        route.judged_generation = generation
        route.judged_rules_number = number
        return rights

    cdef int _denied(self, PublishFields *fields, Message message) except -1:
        """The session may not publish this: it goes nowhere, and its publisher is told where that can be [MQTT-3.3.5-2]."""
        cdef Fault fault
        self.plane.counters.dropped_denied += 1
        if self.plane.message_dropped is not None and message is None:
            message = message_of(fields, self.plane.now)
        if self.plane.message_dropped is not None:
            self.plane.tell_dropped(None, message, "not allowed")
        if message is not None:
            self.handler.denied(self, message.topic)
        else:
            self.handler.denied(self,
                                PyBytes_FromStringAndSize(<const char *>fields.parts.topic, fields.parts.topic_size))
        if self.state >= LINK_ENDING:
            return 0
        if fields.qos == 1:
            return self._acknowledge(PUBACK, fields.packet_id, NOT_AUTHORIZED)
        if fields.qos == 2:
            if self.layout == LAYOUT_3 and find_flight(&self.session.received, fields.packet_id) == NULL:
                # Below version 5 the flow cannot be refused: it runs its course, and PUBREL finds the same answer.
                if not self._may_hold_more(&fault):
                    return self._refuse(&fault)
                self.session.hold(fields.packet_id, message if message is not None else message_of(fields, self.plane.now))
            return self._acknowledge(PUBREC, fields.packet_id, NOT_AUTHORIZED)
        return 1

    cdef int _resolve_alias(self, PublishFields *fields, Fault *fault) except -1:
        """Note or look up a Topic Alias of the peer's; 0 and the fault where it breaks a rule (3.3.2.3.4).

        The alias ends here: what is left of the properties may be forwarded.
        """
        cdef uint16_t alias = fields.properties.alias
        cdef bytes topic
        if alias > self.alias_max_in:
            _fault(fault, TOPIC_ALIAS_INVALID, b"a Topic Alias above the broker's maximum", b"MQTT-3.3.2-9")
            return 0
        if self._aliases is None:
            self._aliases = [None] * (self.alias_max_in + 1)
        if fields.parts.topic_size:
            if check_topic_name(fields.parts.topic, fields.parts.topic_size, self.plane.levels_max, fault) < 0:
                return 0
            self._aliases[alias] = PyBytes_FromStringAndSize(<const char *>fields.parts.topic, fields.parts.topic_size)
        else:
            topic = self._aliases[alias]
            if topic is None:
                _fault(fault, PROTOCOL_ERROR, b"a Topic Alias that stands for nothing yet", b"MQTT-3.3.2-7")
                return 0
            # The list keeps the name while the packet is handled.
            fields.parts.topic = <const unsigned char *>PyBytes_AS_STRING(topic)
            fields.parts.topic_size = <uint16_t>PyBytes_GET_SIZE(topic)
        if fields.parts.properties_size == ALIAS_SIZE:
            fields.parts.properties_size = 0
            fields.properties.alias_offset = NO_OFFSET
        return 1

    cdef int _flush_run(self, Run *run) except -1:
        cdef uint32_t count = run.count
        if count:
            run.count = 0
            self.router.publish_run(self._route, run.start, run.end - run.start, count, run.payload_bytes,
                                    <Layout>self.layout, self.session)
        return 0

    cdef int _acknowledgement(self, Frame *frame) except -1:
        cdef uint16_t packet_id = 0
        cdef uint8_t reason_code = 0
        cdef Cursor properties
        cdef Fault fault
        cdef AckResult result
        cdef Message message
        cdef int rights
        cdef bint is_kept
        cdef int packet_type = frame.first >> 4
        if read_ack(frame.first, frame.body, <Layout>self.layout, &packet_id, &reason_code, &properties, &fault) < 0:
            return self._refuse(&fault)
        if self.plane.journal is not None and has_failed(self.plane.journal) and (
                packet_type == PUBREL or (packet_type == PUBREC and self.session.store_id and reason_code < 0x80)):
            # What PUBCOMP or PUBREL would say cannot be kept: after a restart the message would be lost, or come twice.
            _fault(&fault, IMPLEMENTATION_SPECIFIC_ERROR, b"the store has failed", b"")
            return self._refuse(&fault)
        if packet_type == PUBREL:
            message = self.session.held(packet_id)
            if message is None and self._dropped_ids is not None and packet_id in self._dropped_ids:
                self._dropped_ids.discard(packet_id)
                return self._acknowledge(PUBCOMP, packet_id, 0)
            if message is None:
                # Released before, or never received: the peer may forget it either way.
                return self._acknowledge(PUBCOMP, packet_id, PACKET_IDENTIFIER_NOT_FOUND)
            if is_expired(message, self.plane.now):
                self.session.release(packet_id)
                self.plane.counters.dropped_expired += 1    # [MQTT-3.3.2-5]
            else:
                rights = RIGHTS_ALL
                # No route is looked for where there is nothing to be judged.
                if self.session.rules is not None or is_reserved(message.data, message.topic_size):
                    rights = self._rights_on(self.router.route_of(message.data, message.topic_size))
                    if rights == RIGHTS_UNKNOWN:
                        return AGAIN
                # Its row stays while it goes from its publisher to its receivers.
                is_kept = message.store_references != 0
                message.store_references += is_kept
                self.session.release(packet_id)
                if _is_allowed(rights, message.qos, message.retain):      # a plugin may have made it less than 2
                    self.router.publish_message(message, self.session)
                if is_kept:
                    self.plane.journal.let_go(message)
                if not _is_allowed(rights, message.qos, message.retain):
                    self.plane.counters.dropped_denied += 1
                    if self.plane.message_dropped is not None:
                        self.plane.tell_dropped(None, message, "not allowed")
                    self.handler.denied(self, message.topic)
                    if self.state >= LINK_ENDING:
                        return 0
            self._acknowledge(PUBCOMP, packet_id, 0)
            packet_id = self.session.next_answer()
            while packet_id:
                self._acknowledge(PUBREC, packet_id, 0)
                packet_id = self.session.next_answer()
            return 1
        if packet_type == PUBACK:
            result = self.session.puback(packet_id)
        elif packet_type == PUBREC:
            result = self.session.pubrec(packet_id, reason_code >= 0x80)
            if result != ACK_WRONG and reason_code < 0x80:
                self._acknowledge(PUBREL, packet_id, 0 if result == ACK_TAKEN else PACKET_IDENTIFIER_NOT_FOUND)
        else:
            result = self.session.pubcomp(packet_id)
        if result == ACK_WRONG:
            _fault(&fault, PROTOCOL_ERROR, b"an acknowledgement of another kind than the packet identifier awaits", b"")
            return self._refuse(&fault)
        if result == ACK_TAKEN:
            self._acknowledged = True
        return 1

    cdef int _acknowledge(self, int packet_type, uint16_t packet_id, uint8_t reason_code) except -1:
        cdef size_t size = 5 if self.layout == LAYOUT_5 and reason_code else 4
        if self.plane.journal is not None and self.plane.journal.count != self._journal_count and self.durability:
            # What is acknowledged is kept before: everything from here on waits for it.
            Outlet.hold_back(self, self.durability == 2)
        write_ack(self.room(size), packet_type, packet_id, <Layout>self.layout, reason_code)
        self.plane.counters.packets_sent[packet_type] += 1
        return 1

    cdef int _refuse(self, Fault *fault) except -1:
        """Tell the handler that the peer broke a rule; 0: the link stops here."""
        self.handler.violation(self, fault.reason_code, fault.text.decode(), fault.rule.decode())
        if self.state < LINK_ENDING:
            self.close()        # the handler has to end it; should it not, nothing more is read all the same
        return 0
