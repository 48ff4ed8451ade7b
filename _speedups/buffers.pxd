"""Bounds-checked reading of received bytes, and the growing buffers that bytes are written to."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

# --- reading -----------------------------------------------------------------------------
# A Cursor is two pointers. Nothing in the data plane reads received memory but through the
# functions below; each says no (0) where the bytes do not reach, and then moves nothing.

cdef struct Cursor:
    const unsigned char *at
    const unsigned char *end

cdef inline Py_ssize_t left(const Cursor *cursor) noexcept nogil:
    return cursor.end - cursor.at

cdef inline bint take_u8(Cursor *cursor, uint8_t *value) noexcept nogil:
    if cursor.end - cursor.at < 1:
        return 0
    value[0] = cursor.at[0]
    cursor.at += 1
    return 1

cdef inline bint take_u16(Cursor *cursor, uint16_t *value) noexcept nogil:
    if cursor.end - cursor.at < 2:
        return 0
    value[0] = <uint16_t>((cursor.at[0] << 8) | cursor.at[1])
    cursor.at += 2
    return 1

cdef inline bint take_u32(Cursor *cursor, uint32_t *value) noexcept nogil:
    if cursor.end - cursor.at < 4:
        return 0
    value[0] = (<uint32_t>cursor.at[0] << 24) | (<uint32_t>cursor.at[1] << 16) \
        | (<uint32_t>cursor.at[2] << 8) | <uint32_t>cursor.at[3]
    cursor.at += 4
    return 1

cdef inline bint take_bytes(Cursor *cursor, Py_ssize_t size, Cursor *section) noexcept nogil:
    """The next ``size`` bytes as a cursor of their own."""
    if size < 0 or cursor.end - cursor.at < size:
        return 0
    section.at = cursor.at
    section.end = cursor.at + size
    cursor.at += size
    return 1

cdef inline bint take_prefixed(Cursor *cursor, Cursor *section) noexcept nogil:
    """A two-byte length and as many bytes: MQTT's strings and binary data."""
    cdef uint16_t size
    if cursor.end - cursor.at < 2:
        return 0
    size = <uint16_t>((cursor.at[0] << 8) | cursor.at[1])
    if cursor.end - cursor.at - 2 < size:
        return 0
    section.at = cursor.at + 2
    section.end = section.at + size
    cursor.at = section.end
    return 1

cdef enum Varint:
    VARINT_MALFORMED = -1   # a fifth byte, or more bytes than the value needs  [MQTT-1.5.5-1]
    VARINT_CUT = 0          # the bytes end before the integer does
    VARINT_TAKEN = 1

cdef Varint take_long_varint(Cursor *cursor, uint32_t *value) noexcept nogil

cdef inline Varint take_varint(Cursor *cursor, uint32_t *value) noexcept nogil:
    """The next variable byte integer (1.5.5). Most have one byte."""
    if cursor.end - cursor.at < 1 or cursor.at[0] >= 128:
        return take_long_varint(cursor, value)
    value[0] = cursor.at[0]
    cursor.at += 1
    return VARINT_TAKEN

# --- writing -----------------------------------------------------------------------------

cdef inline unsigned char *put_u16(unsigned char *at, uint16_t value) noexcept nogil:
    at[0] = <unsigned char>(value >> 8)
    at[1] = <unsigned char>value
    return at + 2

cdef inline unsigned char *put_u32(unsigned char *at, uint32_t value) noexcept nogil:
    at[0] = <unsigned char>(value >> 24)
    at[1] = <unsigned char>(value >> 16)
    at[2] = <unsigned char>(value >> 8)
    at[3] = <unsigned char>value
    return at + 4

cdef inline unsigned char *put_bytes(unsigned char *at, const void *data, size_t size) noexcept nogil:
    if size:
        memcpy(at, data, size)
    return at + size

cdef inline int varint_size(uint32_t value) noexcept nogil:
    return 1 if value < 128 else 2 if value < 16_384 else 3 if value < 2_097_152 else 4

cdef inline unsigned char *put_varint(unsigned char *at, uint32_t value) noexcept nogil:
    while value >= 128:
        at[0] = <unsigned char>(value | 0x80)
        at += 1
        value >>= 7
    at[0] = <unsigned char>value
    return at + 1

cdef struct WriteBuffer:
    unsigned char *data
    size_t start        # first byte not yet sent
    size_t end          # past the last byte written
    size_t capacity

cdef inline size_t pending(const WriteBuffer *buffer) noexcept nogil:
    return buffer.end - buffer.start

cdef enum:
    SIZE_CLASSES = 5

cdef class BufferPool:
    cdef unsigned char *_kept[SIZE_CLASSES][256]
    cdef int _count[SIZE_CLASSES]
    cdef int make_room(self, WriteBuffer *buffer, size_t more) except -1
    cdef void give_back(self, WriteBuffer *buffer) noexcept

cdef class PacketReader:
    cdef bytes _data
    cdef Cursor _cursor
