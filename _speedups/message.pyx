"""A message that outlives the packet it came in: queued, in flight, retained, or a will."""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from noctule._speedups.buffers import PacketError
from noctule._speedups.buffers cimport Cursor, put_bytes
from noctule._speedups.codec cimport NO_OFFSET, Fault, PublishFields, PublishProperties, scan_publish_properties


cdef class Message:
    """One application message. It does not change; queues, flights and the retained tree share it.

    ``properties`` is a checked PUBLISH property block without its length, Topic Alias and
    Subscription Identifiers. ``now`` is the time on the broker's clock, in seconds, at which the
    message arrived: its Message Expiry Interval, if it has one, runs from there.
    PacketError where the property block breaks a rule.
    """

    def __init__(self, bytes topic not None, bytes payload not None, int qos=0, bint retain=False,
                 bytes properties=b"", double now=0.0):
        cdef Cursor block
        cdef PublishProperties found
        cdef Fault fault
        cdef unsigned char *at
        if self.data != NULL:
            raise TypeError("a message does not change")
        if not 0 <= qos <= 2:
            raise ValueError(f"QoS is 0, 1 or 2, not {qos}")
        if not 1 <= len(topic) <= 65_535:
            raise ValueError(f"a topic name has 1 to 65535 bytes, not {len(topic)}")
        if len(payload) + len(properties) > 268_435_455 - 65_600:
            raise ValueError("the message does not fit a packet")
        block.at = <const unsigned char *>PyBytes_AS_STRING(properties)
        block.end = block.at + PyBytes_GET_SIZE(properties)
        if scan_publish_properties(block, False, &found, &fault) < 0:
            raise PacketError(fault.reason_code, fault.text.decode(), fault.rule.decode())
        if found.alias_offset != NO_OFFSET:
            raise ValueError("a Topic Alias belongs to a connection, not to a message")
        self.topic_size = len(topic)
        self.properties_size = <uint32_t>len(properties)
        self.payload_size = <uint32_t>len(payload)
        self.data = <unsigned char *>malloc(len(topic) + len(properties) + len(payload))
        if self.data == NULL:
            raise MemoryError()
        at = put_bytes(self.data, PyBytes_AS_STRING(topic), len(topic))
        at = put_bytes(at, PyBytes_AS_STRING(properties), len(properties))
        put_bytes(at, PyBytes_AS_STRING(payload), len(payload))
        self.qos = qos
        self.retain = retain
        self.expiry_offset = found.expiry_offset
        self.expires_at = now + found.expiry_s if found.expiry_offset != NO_OFFSET else 0.0

    def __dealloc__(self):
        free(self.data)

    @property
    def topic(self):
        """The topic name as it was sent: UTF-8 in bytes."""
        return PyBytes_FromStringAndSize(<char *>self.data, self.topic_size)

    @property
    def payload(self):
        return PyBytes_FromStringAndSize(<char *>self.data + self.topic_size + self.properties_size,
                                         self.payload_size)

    @property
    def properties(self):
        """The property block as it was sent, without its length."""
        return PyBytes_FromStringAndSize(<char *>self.data + self.topic_size, self.properties_size)

    def kept_as(self, uint64_t store_id):
        """It has this row in the store already."""
        self.store_id = store_id

    def __repr__(self):
        return f"<Message {self.topic!r} QoS {self.qos} {self.payload_size} bytes{' retain' if self.retain else ''}>"


cdef Message message_of(const PublishFields *publish, double now):
    """A copy of a received PUBLISH. Its Topic Alias, which belongs to that connection, is left out."""
    cdef Message message = Message.__new__(Message)
    cdef uint32_t properties_size = publish.parts.properties_size
    cdef uint32_t alias_at = publish.properties.alias_offset
    cdef uint32_t expiry_at = publish.parts.expiry_offset
    cdef unsigned char *at
    if alias_at != NO_OFFSET:
        properties_size -= 3
        if expiry_at != NO_OFFSET and expiry_at > alias_at:
            expiry_at -= 3
    message.data = <unsigned char *>malloc(
        <size_t>publish.parts.topic_size + properties_size + publish.parts.payload_size)
    if message.data == NULL:
        raise MemoryError()
    at = put_bytes(message.data, publish.parts.topic, publish.parts.topic_size)
    if alias_at == NO_OFFSET:
        at = put_bytes(at, publish.parts.properties, properties_size)
    else:
        at = put_bytes(at, publish.parts.properties, alias_at)
        at = put_bytes(at, publish.parts.properties + alias_at + 3, properties_size - alias_at)
    put_bytes(at, publish.parts.payload, publish.parts.payload_size)
    message.topic_size = publish.parts.topic_size
    message.properties_size = properties_size
    message.payload_size = publish.parts.payload_size
    message.expiry_offset = expiry_at
    message.qos = publish.qos
    message.retain = publish.retain
    message.expires_at = now + publish.properties.expiry_s if expiry_at != NO_OFFSET else 0.0
    return message
