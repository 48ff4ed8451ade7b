"""Where a message goes: the route of its topic, and the fan-out to every session on it.

A route is the list of sessions that a topic reaches, with all that their subscriptions say merged. It is
built once and kept by topic until a subscription changes: one with a wildcard makes every route old (the
filter tree's generation moves), one without drops the route of its own topic alone.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy

from noctule._speedups.buffers cimport Cursor, WriteBuffer, pending, put_varint
from noctule._speedups.codec cimport (
    FRAME_WHOLE, LAYOUT_3, LAYOUT_5, NO_OFFSET, PUBLISH, Fault, Frame, Layout, Parts, PublishFields, publish_size,
    read_publish, scan_frame, write_publish,
)
from noctule._speedups.message cimport Message, is_expired, message_of, parts_of, seconds_left
from noctule._speedups.outlet cimport Outlet, Plane
from noctule._speedups.session cimport DELIVER_EXEMPT, DELIVER_RETAIN, Session
from noctule._speedups.siphash cimport noctule_siphash
from noctule._speedups.topics cimport (
    NO_LOCAL, RETAIN_AS_PUBLISHED, FilterTree, Matches, Subscription, TopicTree,
)

cdef enum:
    WAYS = 4                        # routes in a bucket
    BUCKETS_AT_FIRST = 256
    BUCKETS_MAX = 16_384            # 65,536 routes: half a megabyte of slots
    CACHED_TARGETS_MAX = 1_048_576  # over all routes: 24 MiB; beyond it the cache starts again

cdef enum:
    NO_PACKET_MAX = 0xFFFFFFFF


cdef class Route:
    """The sessions that one topic reaches."""

    def __dealloc__(self):
        cdef size_t i
        for i in range(self.count):
            Py_XDECREF(self.targets[i].more)
        free(self.targets)
        free(self.topic)


cdef bytes _identifier_property(uint32_t identifier):
    cdef unsigned char out[5]
    out[0] = 0x0B
    return PyBytes_FromStringAndSize(<char *>out, put_varint(out + 1, identifier) - out)


cdef int _merge(Target *target, const Subscription *subscription) except -1:
    """Overlapping subscriptions are one delivery: the highest QoS, all identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-4]."""
    cdef bytes more
    cdef PyObject *before
    if subscription.qos > target.qos:
        target.qos = subscription.qos
    if subscription.options & RETAIN_AS_PUBLISHED:
        target.flags |= TARGET_RETAIN
    if subscription.identifier:
        more = _identifier_property(subscription.identifier)
        before = target.more
        if before != NULL:
            more = <bytes>before + more
        Py_INCREF(more)
        target.more = <PyObject *>more
        Py_XDECREF(before)
    return 0


cdef class Router:
    """The trees of one broker, and the way through them."""

    def __init__(self, Plane plane not None):
        key = os.urandom(16)
        self._key0 = int.from_bytes(key[:8], "little")
        self._key1 = int.from_bytes(key[8:], "little")
        self.plane = plane
        self.filters = FilterTree()
        self.retained = TopicTree()
        self._bucket_mask = BUCKETS_AT_FIRST - 1
        self._routes = <PyObject **>calloc(BUCKETS_AT_FIRST * WAYS, sizeof(PyObject *))
        if self._routes == NULL:
            raise MemoryError()

    def __dealloc__(self):
        if self._routes != NULL:
            self._clear_cache()
        free(self._routes)
        free(self._translated.data)

    # --- routes ---

    cdef Route route_of(self, const unsigned char *topic, uint16_t size):
        """The route of a topic, from the cache or built now."""
        cdef uint64_t hash = noctule_siphash(self._key0, self._key1, topic, size)
        cdef uint64_t first = (hash & self._bucket_mask) * WAYS
        cdef uint64_t slot, place = 0
        cdef bint found = False
        cdef Route route
        for slot in range(first, first + WAYS):
            if self._routes[slot] == NULL:
                if not found:
                    place = slot
                    found = True
                continue
            route = <Route>self._routes[slot]
            if route.hash == hash and route.topic_size == size and memcmp(route.topic, topic, size) == 0:
                if route.generation == self.filters.generation:
                    return route
                place = slot
                found = True
                break
        route = self._build(topic, size, hash)
        if self._cached_targets + route.count > CACHED_TARGETS_MAX:
            self._clear_cache()
        if not found:
            if self.cached_routes * 2 > (self._bucket_mask + 1) * WAYS and self._bucket_mask + 1 < BUCKETS_MAX:
                self._grow_cache()
                return self._keep(route)
            self._victim += 1
            place = first + self._victim % WAYS
        self._evict(place)
        self._put(route, place)
        return route

    cdef void _put(self, Route route, uint64_t slot) noexcept:
        Py_INCREF(route)
        self._routes[slot] = <PyObject *>route
        self.cached_routes += 1
        self._cached_targets += route.count

    cdef Route _keep(self, Route route):
        """Put a route into its bucket, in place of another where that is full."""
        cdef uint64_t first = (route.hash & self._bucket_mask) * WAYS
        cdef uint64_t slot
        for slot in range(first, first + WAYS):
            if self._routes[slot] == NULL:
                self._put(route, slot)
                return route
        self._evict(first)
        self._put(route, first)
        return route

    cdef void _evict(self, uint64_t slot) noexcept:
        # A link may still hold the route: the mark tells it that nobody keeps it current.
        cdef PyObject *route = self._routes[slot]
        if route == NULL:
            return
        (<Route>route).is_stale = True
        self._routes[slot] = NULL
        self.cached_routes -= 1
        self._cached_targets -= (<Route>route).count
        Py_DECREF(<object>route)

    cdef void _clear_cache(self) noexcept:
        cdef uint64_t slot
        for slot in range((self._bucket_mask + 1) * WAYS):
            self._evict(slot)

    cdef int _grow_cache(self) except -1:
        cdef PyObject **old = self._routes
        cdef uint64_t old_size = (self._bucket_mask + 1) * WAYS
        cdef uint64_t slot
        cdef PyObject **slots = <PyObject **>calloc(old_size * 2, sizeof(PyObject *))
        if slots == NULL:
            raise MemoryError()
        self._routes = slots
        self._bucket_mask = self._bucket_mask * 2 + 1
        self.cached_routes = 0
        self._cached_targets = 0
        for slot in range(old_size):
            if old[slot] != NULL:
                self._keep(<Route>old[slot])
                Py_DECREF(<object>old[slot])
        free(old)
        return 0

    cdef void _forget_route(self, bytes topic) noexcept:
        """Drop the route of exactly this topic."""
        cdef const unsigned char *at = <const unsigned char *>PyBytes_AS_STRING(topic)
        cdef Py_ssize_t size = PyBytes_GET_SIZE(topic)
        cdef uint64_t hash = noctule_siphash(self._key0, self._key1, at, size)
        cdef uint64_t first = (hash & self._bucket_mask) * WAYS
        cdef uint64_t slot
        cdef Route route
        for slot in range(first, first + WAYS):
            if self._routes[slot] != NULL:
                route = <Route>self._routes[slot]
                if route.hash == hash and route.topic_size == size and memcmp(route.topic, at, size) == 0:
                    self._evict(slot)

    cdef Route _build(self, const unsigned char *topic, uint16_t size, uint64_t hash):
        cdef Route route = Route.__new__(Route)
        cdef Matches matches
        cdef Subscription *subscription
        cdef Session session
        cdef Target *target
        cdef size_t i
        cdef bint no_local = False
        route.hash = hash
        route.generation = self.filters.generation
        route.topic_size = size
        route.topic = <unsigned char *>malloc(size)
        if route.topic == NULL:
            raise MemoryError()
        memcpy(route.topic, topic, size)
        matches.items = NULL
        matches.count = matches.capacity = 0
        try:
            self.filters.match_into(topic, size, &matches)
            if matches.count:
                # Twice as many as matches: a session with No Local may take two.
                route.targets = <Target *>malloc(matches.count * 2 * sizeof(Target))
                if route.targets == NULL:
                    raise MemoryError()
            self._mark += 1
            for i in range(matches.count):
                subscription = matches.items[i]
                session = <Session>subscription.subscriber
                if session.route_mark != self._mark:
                    session.route_mark = self._mark
                    session.route_index = <uint32_t>route.count
                    target = &route.targets[route.count]
                    target.session = subscription.subscriber
                    target.more = NULL
                    target.qos = 0
                    target.flags = 0
                    route.count += 1
                target = &route.targets[session.route_index]
                _merge(target, subscription)
                if subscription.options & NO_LOCAL:
                    target.flags |= TARGET_NOT_SELF
                    no_local = True
            if no_local:
                self._add_self_targets(route, &matches, matches.count)
        finally:
            free(matches.items)
        return route

    cdef int _add_self_targets(self, Route route, void *found, size_t match_count) except -1:
        """For sessions with No Local: a second target, for what they publish themselves, of their other subscriptions."""
        cdef Matches *matches = <Matches *>found
        cdef Subscription *subscription
        cdef Session session
        cdef Target *target
        cdef size_t i
        self._mark += 1
        for i in range(match_count):
            subscription = matches.items[i]
            session = <Session>subscription.subscriber
            if subscription.options & NO_LOCAL:
                continue
            if session.route_mark != self._mark:
                if not route.targets[session.route_index].flags & TARGET_NOT_SELF:
                    continue
                session.route_mark = self._mark
                session.route_index = <uint32_t>route.count
                target = &route.targets[route.count]
                target.session = subscription.subscriber
                target.more = NULL
                target.qos = 0
                target.flags = TARGET_ONLY_SELF
                route.count += 1
            _merge(&route.targets[session.route_index], subscription)
        return 0

    # --- fan-out ---

    cdef int publish(self, Route route, const PublishFields *fields, Message message, Session source) except -1:
        """Store where it is retained, and deliver. ``fields`` (a received PUBLISH) or ``message``, or both.

        The number of targets comes back.
        """
        cdef Parts parts
        cdef Target *target
        cdef Session session
        cdef uint8_t qos, message_qos
        cdef uint32_t expiry_s
        cdef bint retain
        cdef size_t i
        if message is None and (fields.retain or fields.properties.alias_offset != NO_OFFSET):
            message = message_of(fields, self.plane.now)
        if message is not None:
            parts_of(message, &parts)
            message_qos = message.qos
            retain = message.retain
            expiry_s = seconds_left(message, self.plane.now)
        else:
            parts = fields.parts
            message_qos = fields.qos
            retain = False
            expiry_s = fields.properties.expiry_s
        if retain:
            if parts.payload_size == 0:
                self.retained.discard(message.topic)        # [MQTT-3.3.1-6]
            else:
                self.retained.store(message)                # [MQTT-3.3.1-5]
        for i in range(route.count):
            target = &route.targets[i]
            if target.flags & (TARGET_NOT_SELF | TARGET_ONLY_SELF):
                if (target.session == <PyObject *>source) != ((target.flags & TARGET_ONLY_SELF) != 0):
                    continue
            qos = target.qos if target.qos < message_qos else message_qos       # [MQTT-3.8.4-8]
            if qos == 0:
                self._send_qos0(target, &parts, retain and target.flags & TARGET_RETAIN, expiry_s)
            else:
                if message is None:
                    message = message_of(fields, self.plane.now)
                session = <Session>target.session
                session.deliver(message, qos, DELIVER_RETAIN if retain and target.flags & TARGET_RETAIN else 0,
                                target.more)
        return <int>route.count

    cdef int _send_qos0(self, const Target *target, const Parts *parts, bint retain, uint32_t expiry_s) except -1:
        cdef Session session = <Session>target.session
        cdef Outlet outlet = session.outlet
        cdef const unsigned char *more = NULL
        cdef uint32_t more_size = 0
        cdef size_t size
        if outlet is None:
            self.plane.counters.dropped_offline += 1
            return 0
        if session.exempt:
            # Retained messages for a new subscription wait in the queue: what is newer goes behind them.
            session.deliver(_message_from(parts, expiry_s, self.plane.now), 0, DELIVER_RETAIN if retain else 0,
                            target.more)
            return 0
        if target.more != NULL and outlet.layout == LAYOUT_5:
            more = <const unsigned char *>PyBytes_AS_STRING(<bytes>target.more)
            more_size = <uint32_t>PyBytes_GET_SIZE(<bytes>target.more)
        size = publish_size(parts, 0, <Layout>outlet.layout, more_size)
        if size > outlet.packet_max:
            self.plane.counters.dropped_too_large += 1      # [MQTT-3.1.2-24] [MQTT-3.1.2-25]
            return 0
        if pending(&outlet.out) != 0 and pending(&outlet.out) + size > self.plane.write_max_bytes:
            self.plane.counters.dropped_slow_reader += 1
            return 0
        write_publish(outlet.room(size), parts, 0, retain, False, <Layout>outlet.layout, 0, expiry_s, more, more_size)
        self.plane.counters.packets_sent[PUBLISH] += 1
        self.plane.counters.publish_bytes_sent += parts.payload_size
        return 0

    cdef int publish_run(self, Route route, const unsigned char *data, size_t size, uint32_t count,
                         size_t payload_bytes, Layout layout, Session source) except -1:
        """Deliver a run of received PUBLISH packets of one topic: QoS 0, not retained, without alias.

        Whoever reads the same layout gets the received bytes as they are, in one copy for the run.
        """
        cdef Target *target
        cdef Outlet outlet
        cdef const unsigned char *bytes_to_send
        cdef size_t size_to_send
        cdef bint translated = False
        cdef size_t i
        for i in range(route.count):
            target = &route.targets[i]
            if target.flags & (TARGET_NOT_SELF | TARGET_ONLY_SELF):
                if (target.session == <PyObject *>source) != ((target.flags & TARGET_ONLY_SELF) != 0):
                    continue
            outlet = (<Session>target.session).outlet
            if outlet is None:
                self.plane.counters.dropped_offline += count
                continue
            if (<Session>target.session).exempt == 0 and outlet.packet_max == NO_PACKET_MAX \
                    and (target.more == NULL or outlet.layout == LAYOUT_3):
                if outlet.layout == layout:
                    bytes_to_send = data
                    size_to_send = size
                else:
                    if not translated:
                        self._translate_run(data, size, layout)
                        translated = True
                    bytes_to_send = self._translated.data
                    size_to_send = self._translated.end
                if pending(&outlet.out) + size_to_send <= self.plane.write_max_bytes:
                    memcpy(outlet.room(size_to_send), bytes_to_send, size_to_send)
                    self.plane.counters.packets_sent[PUBLISH] += count
                    self.plane.counters.publish_bytes_sent += payload_bytes
                    continue
            self._run_singly(target, data, size, layout)
        return 0

    cdef int _run_singly(self, const Target *target, const unsigned char *data, size_t size,
                         Layout layout) except -1:
        """A run for a target that cannot take it as it is: each packet on its own."""
        cdef Cursor cursor
        cdef Frame frame
        cdef PublishFields fields
        cdef Fault fault
        cursor.at = data
        cursor.end = data + size
        while scan_frame(&cursor, &frame) == FRAME_WHOLE:
            if read_publish(frame.first, frame.body, layout, False, &fields, &fault) == 0:
                self._send_qos0(target, &fields.parts, False, fields.properties.expiry_s)
        return 0

    cdef int _translate_run(self, const unsigned char *data, size_t size, Layout layout) except -1:
        """Write the run in the other layout into ``_translated``."""
        cdef Cursor cursor
        cdef Frame frame
        cdef PublishFields fields
        cdef Fault fault
        cdef Layout other = LAYOUT_3 if layout == LAYOUT_5 else LAYOUT_5
        cdef size_t packet_size
        cursor.at = data
        cursor.end = data + size
        self._translated.start = self._translated.end = 0
        while scan_frame(&cursor, &frame) == FRAME_WHOLE:
            if read_publish(frame.first, frame.body, layout, False, &fields, &fault) == 0:
                packet_size = publish_size(&fields.parts, 0, other, 0)
                self.plane.pool.make_room(&self._translated, packet_size)
                write_publish(self._translated.data + self._translated.end, &fields.parts, 0, False, False, other, 0,
                              fields.properties.expiry_s, NULL, 0)
                self._translated.end += packet_size
        return 0

    # --- from Python ---

    def publish_message(self, Message message not None, Session source=None):
        """Publish a message that the broker has in hand (a will, a service's); how many sessions it matched."""
        return self.publish(self.route_of(message.data, message.topic_size), NULL, message, source)

    def subscribe(self, Session session not None, bytes topic_filter not None, int qos, int options=0,
                  uint32_t identifier=0):
        """Add or replace a subscription; True where the session had one to exactly this filter."""
        existed = self.filters.subscribe(topic_filter, session, qos, options, identifier)
        self._forget_route(topic_filter)
        return existed

    def unsubscribe(self, Session session not None, bytes topic_filter not None):
        """Remove a subscription; True where there was one."""
        existed = self.filters.unsubscribe(topic_filter, session)
        self._forget_route(topic_filter)
        return existed

    def unsubscribe_all(self, Session session not None):
        """Remove all subscriptions of a session."""
        while session.first_subscription != NULL:
            self.unsubscribe(session, self.filters._path(session.first_subscription.node))

    def send_retained(self, Session session not None, bytes topic_filter not None, int qos, uint32_t identifier=0):
        """Deliver the retained messages that match a new subscription [MQTT-3.3.1-9]; how many.

        They go through the session's queue as its connection takes them, and do not count against its limits.
        """
        cdef bytes more = _identifier_property(identifier) if identifier else None
        cdef Message message
        cdef list found = self.retained.walk(topic_filter)
        cdef uint8_t granted
        for message in found:
            if is_expired(message, self.plane.now):
                continue
            granted = min(qos, message.qos)
            session.deliver(message, granted, DELIVER_RETAIN | DELIVER_EXEMPT, <PyObject *>more if identifier else NULL)
        return len(found)

    def route_targets(self, bytes topic not None):
        """For tests and for explaining: (session, qos, flags, identifiers) of the topic's route."""
        cdef Route route = self.route_of(<const unsigned char *>PyBytes_AS_STRING(topic), <uint16_t>len(topic))
        return [
            (<Session>route.targets[i].session, route.targets[i].qos, route.targets[i].flags,
             <bytes>route.targets[i].more if route.targets[i].more != NULL else b"")
            for i in range(route.count)
        ]


cdef Message _message_from(const Parts *parts, uint32_t expiry_s, double now):
    cdef PublishFields fields
    fields.parts = parts[0]
    fields.properties.alias_offset = NO_OFFSET
    fields.properties.expiry_s = expiry_s
    fields.qos = 0
    fields.retain = False
    return message_of(&fields, now)
