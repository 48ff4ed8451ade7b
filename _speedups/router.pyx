"""Where a message goes: the route of its topic, and the fan-out to every session on it.

A route is the list of sessions that a topic reaches, with all that their subscriptions say merged. It is
built once and kept by topic until a subscription changes: one with a wildcard makes every route old (the
filter tree's generation moves), one without drops the route of its own topic alone.
"""

import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.object cimport PyObject
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcmp, memcpy, memset

from noctule._speedups.buffers cimport Cursor, WriteBuffer, pending, put_varint
from noctule._speedups.codec cimport (
    FRAME_WHOLE, LAYOUT_3, LAYOUT_5, NO_OFFSET, PUBLISH, CheckedProperties, Fault, Frame, Layout, Parts, PublishFields,
    publish_size, read_publish, scan_frame, write_publish,
)
from noctule._speedups.message cimport Message, is_expired, message_of, parts_of, seconds_left
from noctule._speedups.outlet cimport Outlet, Plane, refuse_while_deciding
from noctule._speedups.deadlines cimport Timed
from noctule._speedups.session cimport DELIVER_EXEMPT, DELIVER_RETAIN, Session, Via, ask_may_receive, qos0_waits, window_is_open, write_to
from noctule._speedups.siphash cimport noctule_siphash
from noctule._speedups.topics cimport (
    GROUP, NO_LOCAL, RETAIN_AS_PUBLISHED, FilterTree, Matches, Node, Subscription, TopicTree, filter_key, free_matches,
    is_reserved, is_statistic,
)

cdef enum:
    WAYS = 4                        # routes in a bucket
    # The table grows where a bucket is full, up to so many slots for each route: half full, one topic in seven would be in a
    # bucket with more than it holds, and topics that take turns there would be looked for anew each time.
    SLOTS_FOR_ROUTE = 8
    BUCKETS_AT_FIRST = 256
    BUCKETS_MAX = 16_384            # 65,536 routes: half a megabyte of slots
    DIRECT_BYTES = 16_384           # a run of at least this size is sent without a copy, where nothing waits before it
    LENT_TARGETS_MIN = 4            # a smaller run is copied once for all, where at least so many are to get it
    CACHED_TARGETS_MAX = 1_048_576  # over all routes: 24 MiB; beyond it the cache starts again


cdef class Route:
    """The sessions that one topic reaches."""

    def __dealloc__(self):
        cdef size_t i
        cdef size_t j
        for i in range(self.count):
            Py_XDECREF(self.targets[i].via)
        for i in range(self.share_count):
            for j in range(self.shares[i].count):
                Py_XDECREF(self.shares[i].members[j].via)
            free(self.shares[i].members)
        free(self.shares)
        free(self.targets)
        free(self.topic)


cdef size_t _weight(Route route) noexcept:
    """How many targets the route holds in all."""
    cdef size_t i, weight = route.count
    for i in range(route.share_count):
        weight += route.shares[i].count
    return weight


cdef bytes _identifier_property(uint32_t identifier):
    cdef unsigned char out[5]
    out[0] = 0x0B
    return PyBytes_FromStringAndSize(<char *>out, put_varint(out + 1, identifier) - out)


cdef int _merge(Target *target, const Subscription *subscription) except -1:
    """Overlapping subscriptions are one delivery: the highest QoS, all identifiers [MQTT-3.3.4-2] [MQTT-3.3.4-4]."""
    cdef Via via
    if subscription.qos > target.qos:
        target.qos = subscription.qos
    if subscription.options & RETAIN_AS_PUBLISHED:
        target.flags |= TARGET_RETAIN
    if subscription.identifier:
        if target.via == NULL:
            via = _via(b"", None)
            via.parts = []
            Py_INCREF(via)
            target.via = <PyObject *>via
        (<Via>target.via).parts.append(_identifier_property(subscription.identifier))
    return 0


cdef int _join_identifiers(Route route) except -1:
    """Put together what ``_merge`` has collected."""
    cdef size_t i
    for i in range(route.count):
        if route.targets[i].via != NULL:
            (<Via>route.targets[i].via).identifiers = b"".join((<Via>route.targets[i].via).parts)
            (<Via>route.targets[i].via).parts = None
    return 0


cdef Via _via(bytes identifiers, bytes group):
    cdef Via via = Via.__new__(Via)
    via.identifiers = identifiers
    via.group = group
    return via


cdef inline int _start_target(Target *target, PyObject *session, uint8_t flags) noexcept:
    target.session = session
    target.via = NULL
    target.qos = 0
    target.flags = flags
    return 0


cdef class RetainedExpiry(Timed):
    """A retained message whose Message Expiry Interval will run out."""

    cdef readonly bytes topic

    def __init__(self, bytes topic not None):
        self.topic = topic


SHARE_STRATEGIES = {
    "round_robin": ROUND_ROBIN,
    "least_inflight": LEAST_INFLIGHT,
    "sticky": STICKY,
    "hash_topic": HASH_TOPIC,
    "hash_publisher": HASH_PUBLISHER,
}


cdef class Router:
    """The trees of one broker, and the way through them.

    ``share_strategy``: how a share group chooses the member that gets a message, a key of SHARE_STRATEGIES.
    """

    def __init__(self, Plane plane not None, str share_strategy="round_robin"):
        key = os.urandom(16)
        self._key0 = int.from_bytes(key[:8], "little")
        self._key1 = int.from_bytes(key[8:], "little")
        self._share_strategy = SHARE_STRATEGIES[share_strategy]
        self._expiring = {}
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
        cdef uint64_t judged_rules_number = 0, judged_generation = 0
        cdef int judged_rights = 0
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
                judged_rules_number = route.judged_rules_number
                judged_generation = route.judged_generation
                judged_rights = route.judged_rights
                place = slot
                found = True
                break
        route = self._build(topic, size, hash)
        route.judged_rules_number = judged_rules_number
        route.judged_generation = judged_generation
        route.judged_rights = judged_rights
        if self._cached_targets + _weight(route) > CACHED_TARGETS_MAX:
            self._clear_cache()
        if not found:
            if self.cached_routes * SLOTS_FOR_ROUTE > (self._bucket_mask + 1) * WAYS and self._bucket_mask + 1 < BUCKETS_MAX:
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
        self._cached_targets += _weight(route)

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
        self._cached_targets -= _weight(<Route>route)
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
        cdef bytes name = None
        cdef object judge = None
        cdef object answer = None
        cdef dict judged = None
        route.hash = hash
        route.generation = self.filters.generation
        route.topic_size = size
        route.topic = <unsigned char *>malloc(size)
        if route.topic == NULL:
            raise MemoryError()
        memcpy(route.topic, topic, size)
        memset(&matches, 0, sizeof(matches))
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
                if session.rules is not None and session.route_mark != self._mark:
                    # Every delivery is checked on its concrete topic, whatever filter it matches. Sessions with the
                    # same rules share the object, and so the answer.
                    if session.rules is not judge:
                        if name is None:
                            name = PyBytes_FromStringAndSize(<const char *>topic, size)
                            judged = {}
                        judge = session.rules
                        answer = judged.get(id(judge))
                        if answer is None:
                            answer = judged[id(judge)] = bool(ask_may_receive(session, name))
                    if not answer:
                        continue
                if session.route_mark != self._mark:
                    session.route_mark = self._mark
                    session.route_index = <uint32_t>route.count
                    _start_target(&route.targets[route.count], subscription.subscriber, 0)
                    route.count += 1
                target = &route.targets[session.route_index]
                _merge(target, subscription)
                if subscription.options & NO_LOCAL:
                    target.flags |= TARGET_NOT_SELF
                    no_local = True
            if no_local:
                self._add_self_targets(route, &matches)
            _join_identifiers(route)
            if matches.group_count:
                self._add_shares(route, &matches)
        finally:
            free_matches(&matches)
        return route

    cdef int _add_shares(self, Route route, const Matches *matches) except -1:
        cdef Node *group
        cdef Subscription *member
        cdef Share *share
        cdef Session session
        cdef Via via
        cdef size_t i
        cdef bytes name = PyBytes_FromStringAndSize(<const char *>route.topic, route.topic_size)
        route.shares = <Share *>calloc(matches.group_count, sizeof(Share))
        if route.shares == NULL:
            raise MemoryError()
        for i in range(matches.group_count):
            group = matches.groups[i]
            share = &route.shares[i]
            share.group = group
            share.members = <Target *>malloc(group.subscriptions * sizeof(Target))
            if share.members == NULL:
                raise MemoryError()
            route.share_count += 1
            key = self.filters._path(group)
            member = group.links.filters.first
            while member != NULL:
                session = <Session>member.subscriber
                if session.rules is not None and not ask_may_receive(session, name):
                    member = member.next_at_node
                    continue
                _start_target(&share.members[share.count], member.subscriber, 0)
                via = _via(_identifier_property(member.identifier) if member.identifier else b"", key)
                Py_INCREF(via)
                share.members[share.count].via = <PyObject *>via
                share.members[share.count].qos = member.qos
                share.members[share.count].flags = TARGET_RETAIN if member.options & RETAIN_AS_PUBLISHED else 0
                share.count += 1
                member = member.next_at_node
        return 0

    cdef bint _takes_now(self, Session session, uint8_t qos) noexcept:
        """Whether the session would send this at once."""
        return session.outlet is not None and pending(&session.outlet.out) < self.plane.write_max_bytes \
            and (qos == 0 or (session.queued == 0 and window_is_open(session)))

    cdef Target *choose(self, const Share *share, uint8_t qos, uint64_t topic_hash, Session source) noexcept:
        """The member of a share group that gets a message (4.8.2); NULL where nobody can.

        First of all one that can send it at once; failing that one that is connected, then, for what may
        be kept, one that is not. The strategy says where the search begins.
        """
        cdef Target *member
        cdef Session session
        cdef size_t i, start, least = 0
        cdef uint32_t load
        cdef uint64_t least_load = <uint64_t>-1
        cdef int attempt
        cdef uint8_t granted
        if share.count == 0:
            return NULL
        if self._share_strategy == ROUND_ROBIN:
            start = share.group.links.filters.cursor % share.count
            share.group.links.filters.cursor += 1
        elif self._share_strategy == STICKY:
            start = share.group.links.filters.cursor % share.count
        elif self._share_strategy == HASH_TOPIC:
            start = topic_hash % share.count
        elif self._share_strategy == HASH_PUBLISHER:
            start = (<uintptr_t><PyObject *>source >> 4) % share.count
        else:
            for i in range(share.count):
                session = <Session>share.members[i].session
                load = session.in_flight + session.queued
                if session.outlet is not None and load < least_load:
                    least_load = load
                    least = i
            start = least
        for attempt in range(3):
            for i in range(share.count):
                member = &share.members[(start + i) % share.count]
                session = <Session>member.session
                granted = member.qos if member.qos < qos else qos
                if (attempt == 0 and self._takes_now(session, granted)) \
                        or (attempt == 1 and session.outlet is not None) \
                        or (attempt == 2 and granted > 0):
                    if self._share_strategy == STICKY:
                        share.group.links.filters.cursor = (start + i) % share.count
                    return member
        return NULL

    cdef int _add_self_targets(self, Route route, const Matches *matches) except -1:
        """For sessions with No Local: a second target, for what they publish themselves, of their other subscriptions."""
        cdef Subscription *subscription
        cdef Session session
        cdef size_t i
        self._mark += 1
        for i in range(matches.count):
            subscription = matches.items[i]
            session = <Session>subscription.subscriber
            if subscription.options & NO_LOCAL:
                continue
            if session.route_mark != self._mark and session.route_mark != self._mark - 1:
                continue        # not on the route at all
            if session.route_mark != self._mark:
                if not route.targets[session.route_index].flags & TARGET_NOT_SELF:
                    continue
                session.route_mark = self._mark
                session.route_index = <uint32_t>route.count
                _start_target(&route.targets[route.count], subscription.subscriber, TARGET_ONLY_SELF)
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
        if self.plane.message_published is not None and not is_statistic(parts.topic, parts.topic_size):
            if message is None:
                message = message_of(fields, self.plane.now)
            self.plane.tell(self.plane.message_published, source, message)
        if retain:
            self._retain(message)
        for i in range(route.count + route.share_count):
            if i < route.count:
                target = &route.targets[i]
                if target.flags & (TARGET_NOT_SELF | TARGET_ONLY_SELF):
                    if (target.session == <PyObject *>source) != ((target.flags & TARGET_ONLY_SELF) != 0):
                        continue
            else:
                target = self.choose(&route.shares[i - route.count], message_qos, route.hash, source)
                if target == NULL:
                    self.plane.counters.dropped_offline += 1
                    if self.plane.message_dropped is not None:
                        if message is None:
                            message = message_of(fields, self.plane.now)
                        self.plane.tell_dropped(None, message, "no member of the share group is connected")
                    continue
            qos = target.qos if target.qos < message_qos else message_qos       # [MQTT-3.8.4-8]
            if qos == 0:
                self._send_qos0(target, &parts, retain and target.flags & TARGET_RETAIN, expiry_s)
            else:
                if message is None:
                    message = message_of(fields, self.plane.now)
                session = <Session>target.session
                session.deliver(message, qos, DELIVER_RETAIN if retain and target.flags & TARGET_RETAIN else 0,
                                target.via)
        return <int>(route.count + route.share_count)

    cdef bint has_room_for_retained(self) noexcept:
        """Whether another topic may have a retained message."""
        return self.plane.retained_max == 0 \
            or self.retained.count - self.retained.own_count < self.plane.retained_max

    cdef bint retained_is_full(self, bytes topic) except -1:
        """Whether the topic can have no retained message, as it has none yet; whoever wants to know is told of it."""
        if self.has_room_for_retained() or self.retained.get(topic) is not None \
                or is_reserved(<const unsigned char *>PyBytes_AS_STRING(topic), PyBytes_GET_SIZE(topic)):
            return False
        if self.when_retained_full is not None:
            self.when_retained_full(topic)
        return True

    cdef int _retain(self, Message message) except -1:
        """Keep the message as its topic's retained one, or with an empty payload forget that."""
        cdef bytes topic
        if message.payload_size and not self.has_room_for_retained() and self.retained_is_full(message.topic):
            return 0
        if self.plane.journal is not None and not is_statistic(message.data, message.topic_size):
            self._keep_retained(message)
        if message.payload_size == 0:
            self.retained.discard(message.topic)            # [MQTT-3.3.1-6]
        else:
            self.retained.store(message)                    # [MQTT-3.3.1-5]
        if self.plane.retained_changed is not None and not is_statistic(message.data, message.topic_size):
            self.plane.tell(self.plane.retained_changed, message.topic, message if message.payload_size else None)
        if message.expires_at != 0.0 and message.payload_size:
            topic = message.topic
            expiry = self._expiring.get(topic)
            if expiry is None:
                expiry = self._expiring[topic] = RetainedExpiry(topic)
            self.plane.deadlines.schedule_at(expiry, message.expires_at)
        elif self._expiring:
            expiry = self._expiring.pop(message.topic, None)
            if expiry is not None:
                self.plane.deadlines.forget(expiry)
        return 0

    cdef int _keep_retained(self, Message message) except -1:
        """The row of the topic's retained message."""
        cdef bytes topic = message.topic
        cdef Message before = self.retained.get(topic)
        if message.payload_size:
            self.plane.journal.put_retained(topic, message)
            if before is not None:
                self.plane.journal.let_go(before)
        elif before is not None:
            self.plane.journal.drop_retained(topic, before)
        return 0

    def restore_retained(self, Message message not None):
        """Put back a retained message that was kept."""
        message.store_references += 1
        self.retained.store(message)
        if message.expires_at != 0.0:
            expiry = self._expiring[message.topic] = RetainedExpiry(message.topic)
            self.plane.deadlines.schedule_at(expiry, message.expires_at)

    def expire_retained(self, RetainedExpiry expiry not None):
        """Forget the retained message whose time has come [MQTT-3.3.2-5]."""
        cdef Message before
        if expiry.heap_index >= 0:
            return              # put off meanwhile: another message has taken the place
        if self._expiring.pop(expiry.topic, None) is not None:
            before = self.retained.get(expiry.topic)
            if self.plane.journal is not None and before is not None \
                    and not is_statistic(before.data, before.topic_size):
                self.plane.journal.drop_retained(expiry.topic, before)
            self.retained.discard(expiry.topic)
            if self.plane.retained_changed is not None:
                self.plane.tell(self.plane.retained_changed, expiry.topic, None)

    cdef int _send_qos0(self, const Target *target, const Parts *parts, bint retain, uint32_t expiry_s) except -1:
        cdef Session session = <Session>target.session
        cdef Outlet outlet = session.outlet
        cdef const unsigned char *more = NULL
        cdef uint32_t more_size = 0
        cdef size_t size
        cdef int written
        if outlet is None:
            self.plane.counters.dropped_offline += 1
            if self.plane.message_dropped is not None:
                self.plane.tell_dropped(session, _message_from(parts, expiry_s, self.plane.now), "not connected")
            return 0
        if qos0_waits(session):
            # Retained messages for a new subscription wait in the queue: what is newer goes behind them.
            session.deliver(_message_from(parts, expiry_s, self.plane.now), 0, DELIVER_RETAIN if retain else 0,
                            target.via)
            return 0
        if target.via != NULL and outlet.layout == LAYOUT_5:
            more = <const unsigned char *>PyBytes_AS_STRING((<Via>target.via).identifiers)
            more_size = <uint32_t>PyBytes_GET_SIZE((<Via>target.via).identifiers)
        size = publish_size(parts, 0, <Layout>outlet.layout, more_size)
        if pending(&outlet.out) != 0 and pending(&outlet.out) + size > self.plane.write_max_bytes:
            self.plane.counters.dropped_slow_reader += 1
            if self.plane.message_dropped is not None:
                self.plane.tell_dropped(session, _message_from(parts, expiry_s, self.plane.now), "slow reader")
            return 0
        written = write_to(outlet, parts, 0, retain, False, 0, expiry_s, more, more_size)
        if self.plane.sees_messages:
            session._tell_sent(_message_from(parts, expiry_s, self.plane.now), written)
        return 0

    cdef int publish_run(self, Route route, const unsigned char *data, size_t size, uint32_t count,
                         size_t payload_bytes, Layout layout, Session source) except -1:
        """Deliver a run of received PUBLISH packets of one topic: QoS 0, not retained, without alias.

        Whoever reads the same layout gets the received bytes as they are, in one copy for the run.
        """
        cdef Target *target
        cdef Outlet outlet
        cdef const unsigned char *bytes_to_send
        cdef size_t size_to_send, done
        cdef bint translated = False
        cdef bytes lent = None, lent_translated = None
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
            if not qos0_waits(<Session>target.session) and outlet.takes_as_is \
                    and (target.via == NULL or outlet.layout == LAYOUT_3):
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
                    done = 0
                    if pending(&outlet.out) == 0 and outlet.hold_count == 0:
                        if size_to_send >= DIRECT_BYTES:
                            done = outlet.send_now(bytes_to_send, size_to_send)
                            outlet.written += done
                        elif route.count >= LENT_TARGETS_MIN:
                            if outlet.layout == layout:
                                if lent is None:
                                    lent = PyBytes_FromStringAndSize(<const char *>data, size)
                                outlet.lend(lent)
                            else:
                                if lent_translated is None:
                                    lent_translated = PyBytes_FromStringAndSize(
                                        <const char *>bytes_to_send, size_to_send)
                                outlet.lend(lent_translated)
                            done = size_to_send
                    if done < size_to_send:
                        memcpy(outlet.room(size_to_send - done), bytes_to_send + done, size_to_send - done)
                    self.plane.counters.packets_sent[PUBLISH] += count
                    outlet.publishes_sent += count
                    self.plane.counters.publish_bytes_sent += payload_bytes
                    continue
            self._run_singly(target, data, size, layout)
        if route.share_count:
            self._share_run(route, data, size, layout, source)
        return 0

    cdef int _share_run(self, Route route, const unsigned char *data, size_t size, Layout layout,
                        Session source) except -1:
        """Deal a run out to the share groups of its route, packet by packet."""
        cdef Cursor cursor
        cdef Frame frame
        cdef CheckedProperties checked
        cdef PublishFields fields
        cdef Fault fault
        cdef Target *target
        cdef Outlet outlet
        cdef const unsigned char *start
        cdef size_t i
        cursor.at = data
        cursor.end = data + size
        checked.block.at = checked.block.end = NULL
        while cursor.at < cursor.end:
            start = cursor.at
            if scan_frame(&cursor, &frame) != FRAME_WHOLE \
                    or read_publish(frame.first, frame.body, layout, False, &checked, &fields, &fault) < 0:
                break
            for i in range(route.share_count):
                target = self.choose(&route.shares[i], 0, route.hash, source)
                if target == NULL:
                    self.plane.counters.dropped_offline += 1
                    continue
                outlet = (<Session>target.session).outlet
                if outlet is not None and outlet.layout == layout and outlet.takes_as_is \
                        and not qos0_waits(<Session>target.session) \
                        and (layout == LAYOUT_3 or PyBytes_GET_SIZE((<Via>target.via).identifiers) == 0) \
                        and pending(&outlet.out) + frame.size <= self.plane.write_max_bytes:
                    memcpy(outlet.room(frame.size), start, frame.size)
                    self.plane.counters.packets_sent[PUBLISH] += 1
                    outlet.publishes_sent += 1
                    self.plane.counters.publish_bytes_sent += fields.parts.payload_size
                else:
                    self._send_qos0(target, &fields.parts, False, fields.properties.expiry_s)
        return 0

    cdef int _run_singly(self, const Target *target, const unsigned char *data, size_t size,
                         Layout layout) except -1:
        """A run for a target that cannot take it as it is: each packet on its own."""
        cdef Cursor cursor
        cdef Frame frame
        cdef CheckedProperties checked
        cdef PublishFields fields
        cdef Fault fault
        cursor.at = data
        cursor.end = data + size
        checked.block.at = checked.block.end = NULL
        while scan_frame(&cursor, &frame) == FRAME_WHOLE:
            if read_publish(frame.first, frame.body, layout, False, &checked, &fields, &fault) == 0:
                self._send_qos0(target, &fields.parts, False, fields.properties.expiry_s)
        return 0

    cdef int _translate_run(self, const unsigned char *data, size_t size, Layout layout) except -1:
        """Write the run in the other layout into ``_translated``."""
        cdef Cursor cursor
        cdef Frame frame
        cdef CheckedProperties checked
        cdef PublishFields fields
        cdef Fault fault
        cdef Layout other = LAYOUT_3 if layout == LAYOUT_5 else LAYOUT_5
        cdef size_t packet_size
        cursor.at = data
        cursor.end = data + size
        checked.block.at = checked.block.end = NULL
        self._translated.start = self._translated.end = 0
        while scan_frame(&cursor, &frame) == FRAME_WHOLE:
            if read_publish(frame.first, frame.body, layout, False, &checked, &fields, &fault) == 0:
                packet_size = publish_size(&fields.parts, 0, other, 0)
                self.plane.pool.make_room(&self._translated, packet_size)
                write_publish(self._translated.data + self._translated.end, &fields.parts, 0, False, False, other, 0,
                              fields.properties.expiry_s, 0, NULL, 0)
                self._translated.end += packet_size
        return 0

    # --- from Python ---

    def access_changed(self):
        """What sessions may do has changed: every route, and every decision that a link remembers, is old."""
        self.access_generation += 1
        self.filters.generation += 1

    def publish_message(self, Message message not None, Session source=None):
        """Publish a message that the broker has in hand (a will, a service's); how many sessions it matched."""
        refuse_while_deciding(self.plane)
        return self.publish(self.route_of(message.data, message.topic_size), NULL, message, source)

    def subscribe(self, Session session not None, bytes topic_filter not None, int qos, int options=0,
                  uint32_t identifier=0, bytes share_name=None):
        """Add or replace a subscription; True where the session had one to exactly this filter."""
        return self.add_subscription(session, topic_filter, qos, options, identifier, share_name)

    cdef bint add_subscription(self, Session session, bytes topic_filter, int qos, int options, uint32_t identifier,
                               bytes share_name) except -1:
        cdef bint existed
        refuse_while_deciding(self.plane)
        existed = self.filters.add(topic_filter, session, qos, options, identifier, share_name)
        if session.store_id:
            self.plane.journal.put_subscription(session.store_id, topic_filter, share_name, qos, options, identifier)
        if self.cached_routes:
            self._forget_route(topic_filter)
        return existed

    def restore_subscription(self, Session session not None, bytes topic_filter not None, int qos, int options,
                             uint32_t identifier, bytes share_name):
        """Put back a subscription that was kept. ValueError where it cannot be one."""
        if not 0 <= qos <= 2 or not 0 <= options <= 3 or not topic_filter:
            raise ValueError("no subscription")
        self.filters.add(topic_filter, session, qos, options, identifier, share_name)

    def is_subscribed(self, Session session not None, bytes topic_filter not None, bytes share_name=None):
        """Whether the session has a subscription to exactly this filter."""
        cdef bytes key = filter_key(topic_filter, share_name)
        cdef Node *node = self.filters._find(<const unsigned char *>PyBytes_AS_STRING(key), PyBytes_GET_SIZE(key))
        return node != NULL and self.filters._subscription(node, session) != NULL

    def unsubscribe(self, Session session not None, bytes topic_filter not None, bytes share_name=None):
        """Remove a subscription; True where there was one."""
        refuse_while_deciding(self.plane)
        # The route goes first: it refers to what goes with the subscription.
        self._forget_route(topic_filter)
        existed = self.filters.unsubscribe(topic_filter, session, share_name)
        if existed and session.store_id:
            self.plane.journal.drop_subscription(session.store_id, topic_filter, share_name)
        return existed

    def subscriptions_of(self, Session session not None):
        """Its subscriptions as (topic_filter, share_name or None, qos, options, identifier)."""
        cdef list found = []
        cdef bytes topic_filter, separator, share_name
        cdef Subscription *subscription = session.first_subscription
        while subscription != NULL:
            topic_filter, separator, share_name = self.filters._path(subscription.node).partition(b"/\0")
            found.append((topic_filter, share_name if separator else None, subscription.qos, subscription.options,
                          subscription.identifier))
            subscription = subscription.next_of_subscriber
        return found

    def unsubscribe_all(self, Session session not None):
        """Remove all subscriptions of a session."""
        cdef bytes topic_filter, separator, share_name
        while session.first_subscription != NULL:
            topic_filter, separator, share_name = self.filters._path(session.first_subscription.node).partition(b"/\0")
            self.unsubscribe(session, topic_filter, share_name if separator else None)

    def end_session(self, Session session not None):
        """Remove the session's subscriptions and forget its queue and flights.

        What it had from share groups and did not finish goes to other members (4.8.2).
        """
        self.end(session)

    cdef int _drop_subscriptions(self, Session session) except -1:
        """Remove all subscriptions of a session whose row in the store goes with them."""
        cdef Subscription *subscription
        while session.first_subscription != NULL:
            subscription = session.first_subscription
            # The route goes first: it refers to what goes with the subscription.
            if self.cached_routes:
                self._forget_route(self.filters._path(
                    subscription.node.parent if subscription.node.kind == GROUP else subscription.node))
            self.filters.drop(subscription)
        return 0

    cdef int end(self, Session session) except -1:
        refuse_while_deciding(self.plane)
        cdef Message message
        cdef Via via
        cdef Target *target
        cdef Route route
        cdef size_t i
        cdef uint8_t granted
        cdef list orphans
        cdef uint64_t store_id = session.store_id
        session.store_id = 0        # its subscriptions go with its row
        self._drop_subscriptions(session)
        orphans = None
        if session.queued or session.sent.count:
            orphans = session.take_shared()
        session.store_id = store_id
        session.discard()
        session.store_id = 0
        if store_id:
            self.plane.journal.drop_session(store_id)
        if orphans is None:
            return 0
        for message, qos, via in orphans:
            if is_expired(message, self.plane.now):
                continue
            route = self.route_of(message.data, message.topic_size)
            for i in range(route.share_count):
                if route.shares[i].count and (<Via>route.shares[i].members[0].via).group == via.group:
                    target = self.choose(&route.shares[i], qos, route.hash, session)
                    if target != NULL:
                        granted = min(target.qos, <uint8_t>qos)
                        if granted or (<Session>target.session).outlet is not None:
                            (<Session>target.session).deliver(message, granted, 0, target.via)
                    break
        return 0

    def send_retained(self, Session session not None, bytes topic_filter not None, int qos, uint32_t identifier=0):
        """Deliver the retained messages that match a new subscription [MQTT-3.3.1-9]; how many.

        They go through the session's queue as its connection takes them, and do not count against its limits.
        """
        refuse_while_deciding(self.plane)
        cdef Via via = _via(_identifier_property(identifier), None) if identifier else None
        cdef Message message
        cdef uint8_t granted
        cdef uint64_t most = self.retained.count + self.plane.queue_max_messages
        cdef size_t sent = 0
        if session.exempt >= most:
            return 0            # all of them wait already; looking for them again would cost the others' time
        for message in self.retained.walk(topic_filter):
            if is_expired(message, self.plane.now) or not session.may_receive(message):
                continue
            if session.exempt >= most:
                # All of them wait already: it subscribes again and again, and reads nothing.
                session.dropped += 1
                self.plane.counters.dropped_queue_full += 1
                continue
            granted = min(qos, message.qos)
            session.deliver(message, granted, DELIVER_RETAIN | DELIVER_EXEMPT, <PyObject *>via if identifier else NULL)
            sent += 1
        return sent

    def route_targets(self, bytes topic not None):
        """For tests and for explaining: (session, qos, flags, identifiers) of the topic's route."""
        refuse_while_deciding(self.plane)
        cdef Route route = self.route_of(<const unsigned char *>PyBytes_AS_STRING(topic), <uint16_t>len(topic))
        return [
            (<Session>route.targets[i].session, route.targets[i].qos, route.targets[i].flags,
             (<Via>route.targets[i].via).identifiers if route.targets[i].via != NULL else b"")
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
