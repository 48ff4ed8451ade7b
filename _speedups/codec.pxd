"""Frames, PUBLISH and the acknowledgement family on the wire, both directions, without an object per packet."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from noctule._speedups.buffers cimport Cursor

cdef enum:        # packet types
    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15

# How a packet lies on the wire: version 5 has property blocks and reason codes, 3.1 and 3.1.1 have not.
cdef enum Layout:
    LAYOUT_3 = 0
    LAYOUT_5 = 1
    LAYOUTS = 2

cdef enum:
    NO_OFFSET = 0xFFFFFFFF

# What is wrong with a packet, for PacketError: said in C without making an object.
cdef struct Fault:
    uint8_t reason_code
    const char *text
    const char *rule

cdef struct Frame:
    uint8_t first           # packet type and flags
    Cursor body
    size_t size             # header and body; known as soon as the header is whole, otherwise 0

cdef enum FrameResult:
    FRAME_MALFORMED = -1
    FRAME_CUT = 0
    FRAME_WHOLE = 1

cdef FrameResult scan_frame(Cursor *cursor, Frame *frame) noexcept nogil

# A PUBLISH's parts, pointing into memory that somebody else owns.
cdef struct Parts:
    const unsigned char *topic
    const unsigned char *properties     # the block without its length
    const unsigned char *payload
    uint32_t payload_size
    uint32_t properties_size
    uint32_t expiry_offset              # of the four-byte Message Expiry Interval in the block, or NO_OFFSET
    uint16_t topic_size

cdef struct PublishProperties:
    uint32_t expiry_offset              # or NO_OFFSET
    uint32_t expiry_s
    uint32_t alias_offset               # of the property's first byte, or NO_OFFSET
    uint16_t alias
    uint16_t user_properties
    bint text_payload                   # Payload Format Indicator 1

cdef struct PublishFields:
    Parts parts
    PublishProperties properties
    uint16_t packet_id
    uint8_t qos
    bint retain
    bint dup

# The last properties that were checked, for packets that lie in the same memory: publishers tend to repeat theirs.
# Begin with an empty block.
cdef struct CheckedProperties:
    Cursor block
    PublishProperties found

cdef int read_publish(uint8_t first, Cursor body, Layout layout, bint from_server, CheckedProperties *checked,
                      PublishFields *publish, Fault *fault) noexcept nogil
cdef int check_topic_name(const unsigned char *topic, Py_ssize_t size, int levels_max, Fault *fault) noexcept nogil
cdef int scan_publish_properties(Cursor block, bint from_server, PublishProperties *found, Fault *fault) noexcept nogil

cdef int read_ack(uint8_t first, Cursor body, Layout layout, uint16_t *packet_id, uint8_t *reason_code,
                  Cursor *properties, Fault *fault) noexcept nogil

cdef size_t publish_size(const Parts *parts, int qos, Layout layout, uint32_t more_properties) noexcept nogil
cdef unsigned char *write_publish(unsigned char *out, const Parts *parts, int qos, bint retain, bint dup,
                                  Layout layout, uint16_t packet_id, uint32_t expiry_s, uint16_t alias,
                                  const unsigned char *more, uint32_t more_size) noexcept nogil
cdef size_t packet_id_offset(const Parts *parts, Layout layout, uint32_t more_properties) noexcept nogil

cdef enum:
    ACK_SIZE_MAX = 5
    ALIAS_SIZE = 3          # a Topic Alias in a property block

cdef size_t write_ack(unsigned char *out, int packet_type, uint16_t packet_id, Layout layout,
                      uint8_t reason_code) noexcept nogil
