"""What has to be kept across a restart, collected as operations, and how far it has been.

Whatever changes state that must survive adds an operation here; what acknowledges it is held back in its connection
until the batch with that operation is kept (``Outlet.hold``). Batches are numbered by tickets. Whoever commits takes
the whole batch (``take``), and says later that it is kept (``commit_done``); meanwhile the next is collected.

The kinds of operations are handed in: named tuples whose fields are in the order of the calls below.
"""

from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.object cimport PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from noctule._speedups.message cimport Message, size_of

cdef enum:
    # What an operation takes while it waits, beside the bytes of a message.
    OPERATION_BYTES = 200

cdef object _new_tuple = tuple.__new__


cdef class Journal:
    """The operations of one broker. ``wake()`` is called when the first of a batch is added.

    ``kinds``: the operations' types by their names. ``waiting_max_bytes``: about how much may wait before those who add
    to it are no longer read from.
    """

    def __init__(self, kinds not None, wake not None, size_t waiting_max_bytes=67_108_864):
        self._operations = []
        self._wake = wake
        self._waiting_max_bytes = waiting_max_bytes
        self.ticket = 1
        self._next_message_id = self._next_session_id = self._next_position = 1
        self._put_message = kinds["PutMessage"]
        self._drop_message = kinds["DropMessage"]
        self._put_session = kinds["PutSession"]
        self._drop_session = kinds["DropSession"]
        self._put_subscription = kinds["PutSubscription"]
        self._drop_subscription = kinds["DropSubscription"]
        self._put_queued = kinds["PutQueued"]
        self._drop_queued = kinds["DropQueued"]
        self._put_received = kinds["PutReceived"]
        self._drop_received = kinds["DropReceived"]
        self._put_retained = kinds["PutRetained"]
        self._drop_retained = kinds["DropRetained"]
        self._put_will = kinds["PutWill"]
        self._drop_will = kinds["DropWill"]

    # --- towards whoever commits ---

    def __len__(self):
        """How many operations the batch has that is being collected."""
        return len(self._operations)

    @property
    def is_usable(self):
        """Whether what must be kept can be: there is room, and the store has not failed."""
        return self._state <= JOURNAL_LOW

    @property
    def takes_messages(self):
        """Whether messages that must be kept are taken in: not where little room is left either."""
        return self._state == JOURNAL_OPEN

    @property
    def has_failed(self):
        """Whether nothing is kept any more."""
        return self._state == JOURNAL_FAILED

    def take(self):
        """(ticket, operations, must_sync) of the batch that has been collected; the next one begins."""
        cdef list operations = self._operations
        cdef uint64_t ticket = self.ticket
        cdef bint must_sync = self._must_sync
        self._operations = []
        self._taken_bytes += self.collected_bytes
        self.collected_bytes = 0
        self._must_sync = False
        self.ticket += 1
        return ticket, operations, must_sync

    def commit_done(self, uint64_t ticket):
        """Everything up to this batch is kept. The caller lets go what was held (``Plane.let_go``)."""
        self.committed = ticket
        self._taken_bytes = 0
        if self._state != JOURNAL_FAILED:
            self._state = JOURNAL_OPEN

    def run_short(self):
        """There is little room left: no messages are to be taken in until a batch has been kept."""
        if self._state == JOURNAL_OPEN:
            self._state = JOURNAL_LOW

    def put_back(self, list operations not None, bint must_sync):
        """There is no room for a batch that was taken: it is part of the one that is being collected now."""
        self._state = JOURNAL_FULL
        operations.extend(self._operations)
        self._operations = operations
        self.collected_bytes += self._taken_bytes
        self._taken_bytes = 0
        self._must_sync = self._must_sync or must_sync

    def fail(self):
        """Nothing is kept any more: what is held is never let go."""
        self._state = JOURNAL_FAILED
        self._operations = []
        self.collected_bytes = self._taken_bytes = 0

    def start_after(self, uint64_t message_id, uint64_t session_id, uint64_t position):
        """What was kept before this start has used the identifiers up to these."""
        self._next_message_id = message_id + 1
        self._next_session_id = session_id + 1
        self._next_position = position + 1

    # --- operations ---

    cdef int _add_large(self, object kind, tuple row, size_t size_bytes) except -1:
        """An operation with so many bytes of a client's choosing in it."""
        self._add(kind, row)
        if self._state != JOURNAL_FAILED:
            self.collected_bytes += size_bytes
        return 0

    cdef int _add(self, object kind, tuple row) except -1:
        if self._state == JOURNAL_FAILED:
            return 0
        self._operations.append(_new_tuple(kind, row))
        self.count += 1
        self.collected_bytes += OPERATION_BYTES
        if len(self._operations) == 1:
            self._wake()
        return 0

    cdef uint64_t refer(self, Message message) except 0:
        """The identifier of a message that one more row refers to; its own row is put with the first."""
        cdef object expires_at = None
        if message.store_references == 0:
            message.store_id = self._next_message_id
            self._next_message_id += 1
            if message.expires_at != 0.0:
                expires_at = message.expires_at + self.wall_clock_ahead_s
            self._add_large(self._put_message, (message.store_id, message.topic, message.payload, message.qos,
                                                message.retain, message.properties, expires_at), size_of(message))
        message.store_references += 1
        return message.store_id

    cdef uint64_t new_position(self) noexcept:
        """Where the next message of any queue stands. One count for all sessions: a store can tell old from new by it."""
        cdef uint64_t position = self._next_position
        self._next_position += 1
        return position

    cdef int let_go(self, Message message) except -1:
        """One row less refers to the message; its own goes with the last."""
        if message.store_references:
            message.store_references -= 1
            if message.store_references == 0:
                self._add(self._drop_message, (message.store_id,))
                message.store_id = 0
        return 0

    cdef int put_queued(self, uint64_t session_id, uint64_t position, Message message, uint8_t qos, uint8_t flags,
                        uint16_t packet_id, bint is_released, bytes identifiers, bytes share_group) except -1:
        """``message``: None where it is released; otherwise its row is the caller's business (``refer``)."""
        return self._add(self._put_queued, (
            session_id, position, 0 if message is None else message.store_id, qos, flags, packet_id,
            bool(is_released), identifiers, share_group))

    cdef int drop_queued(self, uint64_t session_id, uint64_t position, Message message) except -1:
        self._add(self._drop_queued, (session_id, position))
        if message is not None:
            self.let_go(message)
        return 0

    cdef int put_received(self, uint64_t session_id, uint16_t packet_id, Message message) except -1:
        cdef uint64_t message_id = self.refer(message)
        return self._add(self._put_received, (session_id, packet_id, message_id))

    cdef int drop_received(self, uint64_t session_id, uint16_t packet_id, Message message) except -1:
        self._add(self._drop_received, (session_id, packet_id))
        return self.let_go(message)

    cdef int put_subscription(self, uint64_t session_id, bytes topic_filter, bytes share_name, int qos, int options,
                              uint32_t identifier) except -1:
        return self._add_large(self._put_subscription, (
            session_id, topic_filter, b"" if share_name is None else share_name, qos, options, identifier),
            PyBytes_GET_SIZE(topic_filter))

    cdef int drop_subscription(self, uint64_t session_id, bytes topic_filter, bytes share_name) except -1:
        return self._add(self._drop_subscription, (
            session_id, topic_filter, b"" if share_name is None else share_name))

    cdef int put_retained(self, bytes topic, Message message) except -1:
        cdef uint64_t message_id = self.refer(message)
        return self._add_large(self._put_retained, (topic, message_id), PyBytes_GET_SIZE(topic))

    cdef int drop_retained(self, bytes topic, Message message) except -1:
        self._add(self._drop_retained, (topic,))
        return self.let_go(message)

    # --- from Python ---

    def drop_unreferred(self, Message message not None):
        """Drop the row of a message that was kept, if no other row refers to it."""
        if message.store_references == 0:
            self._add(self._drop_message, (message.store_id,))
            message.store_id = 0

    def new_session_id(self):
        """A number for a session that is to be kept."""
        cdef uint64_t session_id = self._next_session_id
        self._next_session_id += 1
        return session_id

    def put_session(self, uint64_t session_id, str client_id not None, owner, uint32_t expiry_interval_s, ends_at):
        """``ends_at`` is on the broker's clock, or None."""
        self._add(self._put_session, (session_id, client_id, owner, expiry_interval_s, self.on_wall_clock(ends_at)))

    def drop_session(self, uint64_t session_id):
        """The session is over, and every row of it goes with it."""
        self._add(self._drop_session, (session_id,))

    def put_will(self, uint64_t session_id, bytes topic, bytes payload, int qos, bint retain, bytes properties,
                 uint32_t delay_interval_s, user_name, due_at):
        """``due_at`` is on the broker's clock, or None."""
        self._add_large(self._put_will, (session_id, topic, payload, qos, bool(retain), properties, delay_interval_s,
                                         user_name, self.on_wall_clock(due_at)), len(payload) + len(properties))

    def drop_will(self, uint64_t session_id):
        """The Will has been published or taken back."""
        self._add(self._drop_will, (session_id,))

    def on_wall_clock(self, at):
        """A time of the broker's clock in seconds since 1970; None for None, and for never."""
        return None if at is None or at == float("inf") else at + self.wall_clock_ahead_s
