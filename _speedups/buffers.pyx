"""Bounds-checked reading of received bytes, and the growing buffers that bytes are written to."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8

from noctule._speedups.utf8 cimport (
    UTF8_CONTROL, UTF8_ILL_FORMED, UTF8_NULL, UTF8_OK, Utf8Fault, check_utf8,
)


class PacketError(Exception):
    """A packet of the peer's breaks a rule: its fault, and its connection ends.

    ``reason_code`` is what a version 5 peer is told (the specification, 2.4), ``str()`` is for
    the log, ``rule`` names the statement that was broken, where it has a number.
    """

    def __init__(self, reason_code, text, rule=""):
        super().__init__(text)
        self.reason_code = reason_code
        self.rule = rule


MALFORMED_PACKET = 0x81


cdef Varint take_long_varint(Cursor *cursor, uint32_t *value) noexcept nogil:
    cdef const unsigned char *at = cursor.at
    cdef uint32_t sum = 0
    cdef int shift = 0
    cdef unsigned char byte
    while True:
        if at >= cursor.end:
            return VARINT_CUT
        byte = at[0]
        at += 1
        sum |= <uint32_t>(byte & 0x7F) << shift
        if byte < 0x80:
            if byte == 0 and shift > 0:
                return VARINT_MALFORMED      # more bytes than the value needs  [MQTT-1.5.5-1]
            cursor.at = at
            value[0] = sum
            return VARINT_TAKEN
        shift += 7
        if shift > 21:
            return VARINT_MALFORMED


# Capacity of each class, and how many idle buffers of it are kept for the next writer, so that a turn of
# the reactor seldom calls malloc (which would get large ones from the system, page by page) and idle links
# hold no buffer. Together at most 27 MiB, if that many were in use at one time.
cdef size_t *_capacity_of = [2_048, 8_192, 32_768, 131_072, 524_288]
cdef int *_kept_at_most = [256, 128, 64, 64, 32]


cdef class BufferPool:
    """Gives write buffers their memory and takes it back; one for each router."""

    def __dealloc__(self):
        cdef int size_class, i
        for size_class in range(SIZE_CLASSES):
            for i in range(self._count[size_class]):
                free(self._kept[size_class][i])

    cdef int make_room(self, WriteBuffer *buffer, size_t more) except -1:
        """Make ``more`` bytes fit behind the buffer's end. MemoryError leaves it as it was."""
        cdef size_t live = buffer.end - buffer.start
        cdef size_t need = live + more
        cdef size_t capacity
        cdef unsigned char *data
        cdef int size_class = 0
        cdef WriteBuffer old
        if buffer.capacity - buffer.end >= more:
            return 0
        if buffer.capacity >= need and buffer.start >= live:
            # The front has been sent and is at least as long as what is left: each byte is
            # moved at most once for every byte sent.
            memcpy(buffer.data, buffer.data + buffer.start, live)
            buffer.start = 0
            buffer.end = live
            return 0
        while size_class < SIZE_CLASSES and _capacity_of[size_class] < need:
            size_class += 1
        if size_class < SIZE_CLASSES:
            capacity = _capacity_of[size_class]
            if self._count[size_class] > 0:
                self._count[size_class] -= 1
                data = self._kept[size_class][self._count[size_class]]
            else:
                data = <unsigned char *>malloc(capacity)
        else:
            capacity = need + need // 2
            data = <unsigned char *>malloc(capacity)
        if data == NULL:
            raise MemoryError()
        if live:
            memcpy(data, buffer.data + buffer.start, live)
        old = buffer[0]
        buffer.data = data
        buffer.start = 0
        buffer.end = live
        buffer.capacity = capacity
        self.give_back(&old)
        return 0

    cdef void give_back(self, WriteBuffer *buffer) noexcept:
        """Take the buffer's memory; it is empty and holds nothing afterwards."""
        cdef int size_class = 0
        if buffer.data != NULL:
            while size_class < SIZE_CLASSES and _capacity_of[size_class] != buffer.capacity:
                size_class += 1
            if size_class < SIZE_CLASSES and self._count[size_class] < _kept_at_most[size_class]:
                self._kept[size_class][self._count[size_class]] = buffer.data
                self._count[size_class] += 1
            else:
                free(buffer.data)
        buffer.data = NULL
        buffer.start = buffer.end = buffer.capacity = 0


cdef class PacketReader:
    """Reads the fields of one packet, in order; each method raises PacketError where the bytes do not reach."""

    def __init__(self, bytes data not None):
        self._data = data
        self._cursor.at = <const unsigned char *>PyBytes_AS_STRING(data)
        self._cursor.end = self._cursor.at + PyBytes_GET_SIZE(data)

    @property
    def remaining(self):
        """How many bytes are left."""
        return left(&self._cursor)

    def u8(self, field="a byte"):
        cdef uint8_t value = 0
        if not take_u8(&self._cursor, &value):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        return value

    def u16(self, field="a two-byte integer"):
        cdef uint16_t value = 0
        if not take_u16(&self._cursor, &value):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        return value

    def u32(self, field="a four-byte integer"):
        cdef uint32_t value = 0
        if not take_u32(&self._cursor, &value):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        return value

    def varint(self, field="a variable byte integer"):
        cdef uint32_t value = 0
        cdef Varint result = take_varint(&self._cursor, &value)
        if result == VARINT_CUT:
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        if result == VARINT_MALFORMED:
            raise PacketError(MALFORMED_PACKET, f"{field} is not a minimal variable byte integer", "MQTT-1.5.5-1")
        return value

    def take(self, Py_ssize_t size, field="a field"):
        """The next ``size`` bytes."""
        cdef Cursor section
        if not take_bytes(&self._cursor, size, &section):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        return PyBytes_FromStringAndSize(<const char *>section.at, left(&section))

    def rest(self):
        """All that is left."""
        return self.take(left(&self._cursor))

    def binary(self, field="binary data"):
        """Bytes behind a two-byte length (the specification, 1.5.6)."""
        cdef Cursor section
        if not take_prefixed(&self._cursor, &section):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        return PyBytes_FromStringAndSize(<const char *>section.at, left(&section))

    def utf8(self, field="a string"):
        """A UTF-8 string behind a two-byte length (1.5.4); a byte order mark is kept [MQTT-1.5.4-3]."""
        cdef Cursor section
        cdef Utf8Fault fault
        if not take_prefixed(&self._cursor, &section):
            raise PacketError(MALFORMED_PACKET, f"the packet ends before {field}")
        fault = check_utf8(section.at, left(&section))
        if fault != UTF8_OK:
            if fault == UTF8_ILL_FORMED:
                raise PacketError(MALFORMED_PACKET, f"{field} is not well-formed UTF-8", "MQTT-1.5.4-1")
            if fault == UTF8_NULL:
                raise PacketError(MALFORMED_PACKET, f"{field} has the null character U+0000", "MQTT-1.5.4-2")
            if fault == UTF8_CONTROL:
                raise PacketError(MALFORMED_PACKET, f"{field} has a control character")
            raise PacketError(MALFORMED_PACKET, f"{field} has a Unicode non-character")
        return PyUnicode_DecodeUTF8(<const char *>section.at, left(&section), "strict")

    def section(self, Py_ssize_t size, field="a section"):
        """A reader of the next ``size`` bytes alone; this one goes on behind them."""
        return PacketReader(self.take(size, field))

    def expect_end(self, what="the packet"):
        """Raise PacketError unless every byte has been read."""
        if left(&self._cursor) != 0:
            raise PacketError(MALFORMED_PACKET, f"{left(&self._cursor)} bytes too many at the end of {what}")


def encode_varint(value):
    """``value`` (0 to 268,435,455) as a variable byte integer (1.5.5). ValueError outside that range."""
    cdef unsigned char out[4]
    if not 0 <= value <= 268_435_455:
        raise ValueError(f"a variable byte integer holds 0 to 268435455, not {value}")
    return PyBytes_FromStringAndSize(<char *>out, put_varint(out, value) - out)
