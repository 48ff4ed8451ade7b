"""Frames, PUBLISH and the acknowledgement family on the wire, both directions, without an object per packet.

Control packets that are not sent per message (CONNECT, SUBSCRIBE, ...) are read in ``noctule.protocol``.
"""

from collections import namedtuple

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcmp, memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from noctule._speedups.buffers import PacketError
from noctule._speedups.buffers cimport (
    VARINT_CUT, VARINT_MALFORMED, VARINT_TAKEN, Cursor, Varint, left, put_bytes, put_u16, put_u32, put_varint,
    take_bytes, take_prefixed, take_u16, take_u32, take_u8, take_varint, varint_size,
)
from noctule._speedups.utf8 cimport UTF8_OK, check_utf8

cdef enum:
    MALFORMED_PACKET = 0x81
    PROTOCOL_ERROR = 0x82
    TOPIC_NAME_INVALID = 0x90
    TOPIC_ALIAS_INVALID = 0x94


cdef inline int refuse(Fault *fault, uint8_t reason_code, const char *text, const char *rule) noexcept nogil:
    fault.reason_code = reason_code
    fault.text = text
    fault.rule = rule
    return -1


cdef FrameResult scan_frame(Cursor *cursor, Frame *frame) noexcept nogil:
    """Take one packet from the cursor. FRAME_CUT moves nothing; ``frame.size`` is known once the header is whole."""
    cdef Cursor at = cursor[0]
    cdef uint32_t remaining_length = 0
    cdef Varint result
    frame.size = 0
    if not take_u8(&at, &frame.first):
        return FRAME_CUT
    result = take_varint(&at, &remaining_length)
    if result == VARINT_CUT:
        return FRAME_CUT
    if result == VARINT_MALFORMED:
        return FRAME_MALFORMED
    frame.size = <size_t>(at.at - cursor.at) + remaining_length
    if not take_bytes(&at, remaining_length, &frame.body):
        return FRAME_CUT
    cursor[0] = at
    return FRAME_WHOLE


cdef int check_topic_name(const unsigned char *topic, Py_ssize_t size, int levels_max, Fault *fault) noexcept nogil:
    """0 where this is a topic name that may be published to; -1 and the fault otherwise."""
    cdef Py_ssize_t i
    cdef int levels = 1
    if size == 0:
        return refuse(fault, TOPIC_NAME_INVALID, b"the topic name is empty", b"MQTT-4.7.3-1")
    if check_utf8(topic, size) != UTF8_OK:
        return refuse(fault, MALFORMED_PACKET, b"the topic name is not acceptable UTF-8", b"MQTT-3.3.2-1")
    for i in range(size):
        if topic[i] == c"/":
            levels += 1
        elif topic[i] == c"#" or topic[i] == c"+":
            return refuse(fault, TOPIC_NAME_INVALID, b"the topic name has a wildcard", b"MQTT-3.3.2-2")
    if levels > levels_max:
        return refuse(fault, TOPIC_NAME_INVALID, b"the topic name has too many levels", b"")
    return 0


cdef int _string(Cursor *at, Fault *fault) noexcept nogil:
    cdef Cursor section
    if not take_prefixed(at, &section):
        return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
    if check_utf8(section.at, left(&section)) != UTF8_OK:
        return refuse(fault, MALFORMED_PACKET, b"a string property is not acceptable UTF-8", b"MQTT-1.5.4-1")
    return 0


cdef int scan_publish_properties(Cursor block, bint from_server, PublishProperties *found, Fault *fault) noexcept nogil:
    """Check the property block of a PUBLISH (the specification, 3.3.2.3) and note what the broker acts on."""
    cdef const unsigned char *start = block.at
    cdef const unsigned char *property_at
    cdef uint32_t identifier = 0, number = 0
    cdef uint32_t seen = 0
    cdef uint8_t byte = 0
    cdef Cursor section
    cdef Py_ssize_t i
    found.expiry_offset = NO_OFFSET
    found.alias_offset = NO_OFFSET
    found.expiry_s = 0
    found.alias = 0
    found.user_properties = 0
    found.text_payload = False
    while block.at < block.end:
        property_at = block.at
        if take_varint(&block, &identifier) != VARINT_TAKEN:
            return refuse(fault, MALFORMED_PACKET, b"a property identifier is malformed", b"")
        if identifier != 0x26 and identifier != 0x0B:
            if identifier < 32:
                if seen & (<uint32_t>1 << identifier):
                    return refuse(fault, PROTOCOL_ERROR, b"a property stands twice in PUBLISH", b"")
                seen |= <uint32_t>1 << identifier
            elif identifier == 0x23:
                if found.alias_offset != NO_OFFSET:
                    return refuse(fault, PROTOCOL_ERROR, b"a property stands twice in PUBLISH", b"")
        if identifier == 0x01:      # Payload Format Indicator
            if not take_u8(&block, &byte):
                return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
            if byte > 1:
                return refuse(fault, PROTOCOL_ERROR, b"the Payload Format Indicator is neither 0 nor 1", b"")
            found.text_payload = byte == 1
        elif identifier == 0x02:    # Message Expiry Interval
            found.expiry_offset = <uint32_t>(block.at - start)
            if not take_u32(&block, &found.expiry_s):
                return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
        elif identifier == 0x03:    # Content Type  [MQTT-3.3.2-19]
            if _string(&block, fault) < 0:
                return -1
        elif identifier == 0x08:    # Response Topic  [MQTT-3.3.2-13]
            if not take_prefixed(&block, &section):
                return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
            if check_utf8(section.at, left(&section)) != UTF8_OK:
                return refuse(fault, MALFORMED_PACKET, b"the Response Topic is not acceptable UTF-8", b"MQTT-3.3.2-13")
            if left(&section) == 0:
                return refuse(fault, PROTOCOL_ERROR, b"the Response Topic is empty", b"MQTT-4.7.3-1")
            for i in range(left(&section)):
                if section.at[i] == c"#" or section.at[i] == c"+":
                    return refuse(fault, PROTOCOL_ERROR, b"the Response Topic has a wildcard", b"MQTT-3.3.2-14")
        elif identifier == 0x09:    # Correlation Data
            if not take_prefixed(&block, &section):
                return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
        elif identifier == 0x0B:    # Subscription Identifier
            if not from_server:
                return refuse(fault, PROTOCOL_ERROR, b"a client's PUBLISH has a Subscription Identifier", b"MQTT-3.3.4-6")
            if take_varint(&block, &number) != VARINT_TAKEN:
                return refuse(fault, MALFORMED_PACKET, b"the Subscription Identifier is malformed", b"")
            if number == 0:
                return refuse(fault, PROTOCOL_ERROR, b"the Subscription Identifier is 0", b"")
        elif identifier == 0x23:    # Topic Alias
            found.alias_offset = <uint32_t>(property_at - start)
            if not take_u16(&block, &found.alias):
                return refuse(fault, MALFORMED_PACKET, b"a property is cut short", b"")
            if found.alias == 0:
                return refuse(fault, TOPIC_ALIAS_INVALID, b"the Topic Alias is 0", b"MQTT-3.3.2-8")
        elif identifier == 0x26:    # User Property  [MQTT-1.5.7-1]
            if _string(&block, fault) < 0 or _string(&block, fault) < 0:
                return -1
            if found.user_properties < 0xFFFF:
                found.user_properties += 1
        else:
            return refuse(fault, MALFORMED_PACKET, b"PUBLISH has a property that does not belong there", b"")
    return 0


cdef int read_publish(uint8_t first, Cursor body, Layout layout, bint from_server, CheckedProperties *checked,
                      PublishFields *publish, Fault *fault) noexcept nogil:
    """Read a PUBLISH but for the rules of its topic name (``check_topic_name``). 0, or -1 and the fault.

    ``checked``: what was read before it from the same memory by the same caller. The same bytes are not checked twice.
    """
    cdef Cursor topic, properties
    cdef uint32_t properties_size = 0
    publish.qos = (first >> 1) & 3
    publish.retain = first & 1
    publish.dup = (first >> 3) & 1
    publish.packet_id = 0
    if publish.qos == 3:
        return refuse(fault, MALFORMED_PACKET, b"PUBLISH has QoS 3", b"MQTT-3.3.1-4")
    if publish.dup and publish.qos == 0:
        return refuse(fault, MALFORMED_PACKET, b"PUBLISH has DUP with QoS 0", b"MQTT-3.3.1-2")
    if not take_prefixed(&body, &topic):
        return refuse(fault, MALFORMED_PACKET, b"PUBLISH ends before its topic name does", b"MQTT-3.3.2-1")
    if publish.qos > 0:
        if not take_u16(&body, &publish.packet_id):
            return refuse(fault, MALFORMED_PACKET, b"PUBLISH ends before its packet identifier", b"MQTT-2.2.1-3")
        if publish.packet_id == 0:
            return refuse(fault, PROTOCOL_ERROR, b"PUBLISH has the packet identifier 0", b"MQTT-2.2.1-3")
    publish.parts.topic = topic.at
    publish.parts.topic_size = <uint16_t>left(&topic)
    publish.parts.properties = NULL
    publish.parts.properties_size = 0
    publish.parts.expiry_offset = NO_OFFSET
    publish.properties.expiry_offset = NO_OFFSET
    publish.properties.alias_offset = NO_OFFSET
    publish.properties.expiry_s = 0
    publish.properties.alias = 0
    publish.properties.user_properties = 0
    publish.properties.text_payload = False
    if layout == LAYOUT_5:
        if take_varint(&body, &properties_size) != VARINT_TAKEN or not take_bytes(&body, properties_size, &properties):
            return refuse(fault, MALFORMED_PACKET, b"PUBLISH has a malformed property length", b"MQTT-2.2.2-1")
        if properties_size:
            if properties_size == <uint32_t>left(&checked.block) \
                    and memcmp(properties.at, checked.block.at, properties_size) == 0:
                publish.properties = checked.found
            elif scan_publish_properties(properties, from_server, &publish.properties, fault) < 0:
                return -1
            else:
                checked.block = properties
                checked.found = publish.properties
            publish.parts.properties = properties.at
            publish.parts.properties_size = properties_size
            publish.parts.expiry_offset = publish.properties.expiry_offset
        if left(&topic) == 0 and publish.properties.alias_offset == NO_OFFSET:     # 3.3.2.1
            return refuse(fault, PROTOCOL_ERROR, b"PUBLISH has neither a topic name nor a Topic Alias", b"MQTT-4.7.3-1")
    publish.parts.payload = body.at
    publish.parts.payload_size = <uint32_t>left(&body)
    return 0


cdef int read_ack(uint8_t first, Cursor body, Layout layout, uint16_t *packet_id, uint8_t *reason_code,
                  Cursor *properties, Fault *fault) noexcept nogil:
    """Read a PUBACK, PUBREC, PUBREL or PUBCOMP. 0, or -1 and the fault."""
    cdef int packet_type = first >> 4
    cdef uint32_t properties_size = 0, identifier = 0
    cdef Cursor block
    cdef uint8_t code = 0
    cdef bint reason_seen = False
    reason_code[0] = 0
    properties.at = properties.end = body.end
    if first & 0x0F != (2 if packet_type == PUBREL else 0):
        return refuse(fault, MALFORMED_PACKET, b"an acknowledgement has reserved flags", b"MQTT-2.1.3-1")
    if not take_u16(&body, packet_id):
        return refuse(fault, MALFORMED_PACKET, b"an acknowledgement ends before its packet identifier", b"")
    if packet_id[0] == 0:
        return refuse(fault, PROTOCOL_ERROR, b"an acknowledgement has the packet identifier 0", b"MQTT-2.2.1-6")
    if left(&body) == 0:
        return 0
    if layout == LAYOUT_3:
        return refuse(fault, MALFORMED_PACKET, b"an acknowledgement has bytes too many", b"")
    take_u8(&body, &code)
    reason_code[0] = code
    if packet_type == PUBACK or packet_type == PUBREC:
        if not (code == 0x00 or code == 0x10 or code == 0x80 or code == 0x83 or code == 0x87 or code == 0x90
                or code == 0x91 or code == 0x97 or code == 0x99):
            return refuse(fault, PROTOCOL_ERROR, b"an acknowledgement has an undefined reason code",
                          b"MQTT-3.4.2-1" if packet_type == PUBACK else b"MQTT-3.5.2-1")
    elif not (code == 0x00 or code == 0x92):
        return refuse(fault, PROTOCOL_ERROR, b"an acknowledgement has an undefined reason code",
                      b"MQTT-3.6.2-1" if packet_type == PUBREL else b"MQTT-3.7.2-1")
    if left(&body) == 0:
        return 0
    if take_varint(&body, &properties_size) != VARINT_TAKEN or properties_size != <uint32_t>left(&body):
        return refuse(fault, MALFORMED_PACKET, b"an acknowledgement has a malformed property length", b"MQTT-2.2.2-1")
    properties[0] = body
    block = body
    while block.at < block.end:
        if take_varint(&block, &identifier) != VARINT_TAKEN:
            return refuse(fault, MALFORMED_PACKET, b"a property identifier is malformed", b"")
        if identifier == 0x1F:      # Reason String
            if reason_seen:
                return refuse(fault, PROTOCOL_ERROR, b"an acknowledgement has two reason strings", b"")
            reason_seen = True
            if _string(&block, fault) < 0:
                return -1
        elif identifier == 0x26:    # User Property
            if _string(&block, fault) < 0 or _string(&block, fault) < 0:
                return -1
        else:
            return refuse(fault, MALFORMED_PACKET, b"an acknowledgement has a property that does not belong there", b"")
    return 0


cdef inline uint32_t _remaining_length(const Parts *parts, int qos, Layout layout, uint32_t more) noexcept nogil:
    cdef uint32_t size = 2 + <uint32_t>parts.topic_size + parts.payload_size + (2 if qos else 0)
    cdef uint32_t properties
    if layout == LAYOUT_5:
        properties = parts.properties_size + more
        size += varint_size(properties) + properties
    return size


cdef size_t publish_size(const Parts *parts, int qos, Layout layout, uint32_t more_properties) noexcept nogil:
    """How many bytes ``write_publish`` will write."""
    cdef uint32_t remaining = _remaining_length(parts, qos, layout, more_properties)
    return 1 + varint_size(remaining) + <size_t>remaining


cdef size_t packet_id_offset(const Parts *parts, Layout layout, uint32_t more_properties) noexcept nogil:
    """Where the packet identifier stands in a PUBLISH of QoS 1 or 2."""
    return 1 + varint_size(_remaining_length(parts, 1, layout, more_properties)) + 2 + <size_t>parts.topic_size


cdef unsigned char *write_publish(unsigned char *out, const Parts *parts, int qos, bint retain, bint dup,
                                  Layout layout, uint16_t packet_id, uint32_t expiry_s, uint16_t alias,
                                  const unsigned char *more, uint32_t more_size) noexcept nogil:
    """Write a PUBLISH; the end of it comes back. ``alias`` (0: none) and ``more`` (Subscription
    Identifiers) are properties of this delivery alone, behind the message's own. ``expiry_s``
    replaces the interval that the block holds, where it holds one [MQTT-3.3.2-6]. Property blocks
    are left out below version 5."""
    cdef uint32_t offset = parts.expiry_offset
    cdef uint32_t own_size = more_size + (ALIAS_SIZE if alias else 0) if layout == LAYOUT_5 else 0
    out[0] = <unsigned char>((PUBLISH << 4) | (8 if dup else 0) | (qos << 1) | (1 if retain else 0))
    out = put_varint(out + 1, _remaining_length(parts, qos, layout, own_size))
    out = put_u16(out, parts.topic_size)
    out = put_bytes(out, parts.topic, parts.topic_size)
    if qos:
        out = put_u16(out, packet_id)
    if layout == LAYOUT_5:
        out = put_varint(out, parts.properties_size + own_size)
        if parts.properties_size:
            memcpy(out, parts.properties, parts.properties_size)
            if offset != NO_OFFSET:
                put_u32(out + offset, expiry_s)
            out += parts.properties_size
        if alias:
            out[0] = 0x23
            out = put_u16(out + 1, alias)
        out = put_bytes(out, more, more_size)
    return put_bytes(out, parts.payload, parts.payload_size)


cdef size_t write_ack(unsigned char *out, int packet_type, uint16_t packet_id, Layout layout,
                      uint8_t reason_code) noexcept nogil:
    """Write an acknowledgement in its shortest form; its size comes back. ``out`` has ACK_SIZE_MAX bytes."""
    out[0] = <unsigned char>((packet_type << 4) | (2 if packet_type == PUBREL else 0))
    out[2] = <unsigned char>(packet_id >> 8)
    out[3] = <unsigned char>packet_id
    if layout == LAYOUT_5 and reason_code != 0:
        out[1] = 3
        out[4] = reason_code
        return 5
    out[1] = 2
    return 4


# --- for clients and tests ---------------------------------------------------------------

Publish = namedtuple("Publish", "topic payload qos retain dup packet_id properties")
Ack = namedtuple("Ack", "packet_type packet_id reason_code properties")


cdef object raise_fault(Fault *fault):
    raise PacketError(fault.reason_code, fault.text.decode(), fault.rule.decode())


cdef inline Cursor _over(bytes data):
    cdef Cursor cursor
    cursor.at = <const unsigned char *>PyBytes_AS_STRING(data)
    cursor.end = cursor.at + PyBytes_GET_SIZE(data)
    return cursor


cdef inline bytes _bytes_of(const unsigned char *at, Py_ssize_t size):
    return PyBytes_FromStringAndSize(<const char *>at, size)


def decode_publish(int first, bytes body not None, int version, bint from_server=False):
    """Read a PUBLISH (``first``: its first byte, ``version``: 3, 4 or 5). PacketError where it breaks a rule.

    ``from_server`` allows what only a server sends (Subscription Identifiers).
    """
    cdef CheckedProperties checked
    cdef PublishFields publish
    cdef Fault fault
    cdef Layout layout = LAYOUT_5 if version >= 5 else LAYOUT_3
    checked.block.at = checked.block.end = NULL
    if read_publish(<uint8_t>first, _over(body), layout, from_server, &checked, &publish, &fault) < 0:
        raise_fault(&fault)
    # Only an alias may stand in for the topic name.
    if publish.parts.topic_size or not publish.properties.alias:
        if check_topic_name(publish.parts.topic, publish.parts.topic_size, 65_536, &fault) < 0:
            raise_fault(&fault)
    return Publish(
        _bytes_of(publish.parts.topic, publish.parts.topic_size),
        _bytes_of(publish.parts.payload, publish.parts.payload_size),
        publish.qos, bool(publish.retain), bool(publish.dup), publish.packet_id,
        _bytes_of(publish.parts.properties, publish.parts.properties_size),
    )


def encode_publish(bytes topic not None, bytes payload not None, int version, int qos=0, bint retain=False,
                   bint dup=False, int packet_id=0, bytes properties=b""):
    """The whole packet. ``properties``: the block without its length; left out below version 5.

    ValueError where the fields do not make a packet: that is the caller's fault.
    """
    cdef Parts parts
    cdef Layout layout = LAYOUT_5 if version >= 5 else LAYOUT_3
    cdef bytes packet
    cdef unsigned char *start
    if not 0 <= qos <= 2:
        raise ValueError(f"QoS is 0, 1 or 2, not {qos}")
    if qos and not 1 <= packet_id <= 65_535:
        raise ValueError(f"a packet identifier is 1 to 65535, not {packet_id}")
    if len(topic) > 65_535:
        raise ValueError(f"a topic name has at most 65535 bytes, not {len(topic)}")
    if len(topic) + len(payload) + len(properties) + 12 > 268_435_455:
        raise ValueError("a packet has at most 268435455 bytes behind its header")
    parts.topic = <const unsigned char *>PyBytes_AS_STRING(topic)
    parts.topic_size = <uint16_t>len(topic)
    parts.payload = <const unsigned char *>PyBytes_AS_STRING(payload)
    parts.payload_size = <uint32_t>len(payload)
    parts.properties = <const unsigned char *>PyBytes_AS_STRING(properties)
    parts.properties_size = <uint32_t>len(properties)
    parts.expiry_offset = NO_OFFSET
    packet = PyBytes_FromStringAndSize(NULL, publish_size(&parts, qos, layout, 0))
    start = <unsigned char *>PyBytes_AS_STRING(packet)
    write_publish(start, &parts, qos, retain, dup, layout, <uint16_t>packet_id, 0, 0, NULL, 0)
    return packet


def decode_ack(int first, bytes body not None, int version):
    """Read an acknowledgement. PacketError where it breaks a rule."""
    cdef uint16_t packet_id = 0
    cdef uint8_t reason_code = 0
    cdef Cursor properties
    cdef Fault fault
    if read_ack(<uint8_t>first, _over(body), LAYOUT_5 if version >= 5 else LAYOUT_3, &packet_id, &reason_code,
                &properties, &fault) < 0:
        raise_fault(&fault)
    return Ack(first >> 4, packet_id, reason_code, _bytes_of(properties.at, left(&properties)))


def encode_ack(int packet_type, int packet_id, int version, int reason_code=0):
    """The whole packet, in the shortest form that the version allows."""
    cdef unsigned char out[ACK_SIZE_MAX]
    cdef size_t size
    if not PUBACK <= packet_type <= PUBCOMP:
        raise ValueError(f"packet type {packet_type} is no acknowledgement of PUBLISH")
    if not 0 <= reason_code <= 255:
        raise ValueError(f"a reason code is 0 to 255, not {reason_code}")
    if not 1 <= packet_id <= 65_535:
        raise ValueError(f"a packet identifier is 1 to 65535, not {packet_id}")
    size = write_ack(out, packet_type, <uint16_t>packet_id, LAYOUT_5 if version >= 5 else LAYOUT_3,
                     <uint8_t>reason_code)
    return _bytes_of(out, size)


cdef class FrameScanner:
    """Cuts a byte stream into packets; for clients and tests (a link does the same in place)."""

    cdef bytearray _held
    cdef size_t _max_packet_size

    def __init__(self, size_t max_packet_size=268_435_460):
        self._held = bytearray()
        self._max_packet_size = max_packet_size

    @property
    def held(self):
        """Bytes of an unfinished packet."""
        return len(self._held)

    def feed(self, data):
        """Every packet that is whole now, as (first byte, body).

        PacketError on a malformed remaining length (0x81) or a packet above the maximum (0x95).
        """
        cdef Cursor cursor
        cdef Frame frame
        cdef FrameResult result
        cdef bytes stream
        self._held += data
        if not self._held:
            return []
        stream = bytes(self._held)
        cursor = _over(stream)
        packets = []
        while True:
            result = scan_frame(&cursor, &frame)
            if result == FRAME_MALFORMED:
                raise PacketError(MALFORMED_PACKET, "the remaining length is malformed", "MQTT-1.5.5-1")
            if frame.size > self._max_packet_size:
                raise PacketError(0x95, f"a packet of {frame.size} bytes is above the maximum", "MQTT-3.1.2-24")
            if result == FRAME_CUT:
                break
            packets.append((frame.first, _bytes_of(frame.body.at, left(&frame.body))))
        self._held = bytearray(_bytes_of(cursor.at, left(&cursor)))
        return packets
