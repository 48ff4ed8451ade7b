"""What plain clients want, handled without the handlers: nothing about them is to be decided.

A plain client's CONNECT has no user name, password, Will, property nor session to go on with, and nobody but the settings
has a say in whether it comes in. Most that come and go fast are such: devices that wake up, say something and leave.
What they send at the beginning and the end (CONNECT, SUBSCRIBE of ordinary filters, DISCONNECT) is then handled here, to
the same effect as in ``handlers``, in a tenth of the time. Whatever is in any way special or wrong is left to the
handlers before anything has happened, so there is one place alone that refuses, logs and explains.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeUTF8
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcmp, memcpy

from noctule._speedups.buffers cimport Cursor, left, pending, take_prefixed, take_u8, take_u16
from noctule._speedups.codec cimport CONNACK, DISCONNECT, SUBACK, SUBSCRIBE
from noctule._speedups.link cimport LINK_OPEN, Link
from noctule._speedups.outlet cimport Outlet, refuse_while_deciding
from noctule._speedups.router cimport Router
from noctule._speedups.session cimport Session
from noctule._speedups.utf8 cimport UTF8_OK, check_utf8

cdef enum:
    CLEAN_START = 0x02
    NO_PACKET_MAX = 0xFFFFFFFF
    RECEIVE_MAXIMUM_DEFAULT = 65_535
    # Filters of one SUBSCRIBE; more are for the handlers.
    FILTERS_MAX = 8

cdef object DEBUG = 10          # logging.DEBUG

cdef class Welcome:
    """How plain clients of one origin are let in: ``connack_3`` and ``connack_5`` are whole packets, ``durability`` is
    what their acknowledgements wait for (as in ``Link.durability``), ``keep_alive_max_s`` their longest Keep Alive and
    ``sessions_max`` how many sessions there may be; 0: any.
    """

    def __init__(self, bytes connack_3 not None, bytes connack_5 not None, uint8_t durability, uint16_t keep_alive_max_s,
                 Py_ssize_t sessions_max=0):
        self.connack_3 = connack_3
        self.connack_5 = connack_5
        self.durability = durability
        self.keep_alive_max_s = keep_alive_max_s
        self.sessions_max = sessions_max


cdef class PlainClients(Shortcut):
    """Handles the packets of plain clients of one broker.

    ``sessions`` by client identifier and ``links`` are the broker's own. ``connection_3`` and ``connection_5`` are what
    the handlers are to find as ``link.connection``. ``judge(link)`` answers with a Welcome, or None where something
    about the link is to be decided; it is asked again where ``state.settings``, the journal or the origin is another
    than before. While ``state.is_stopping`` or ``is_debugging(logging.DEBUG)`` every client is for the handlers.
    ``make_client(link, client_id, version)`` describes a client for plugins.
    """

    def __init__(self, Router router not None, dict sessions not None, set links not None, *, connection_3, connection_5,
                 state, judge, is_debugging, make_client):
        self.router = router
        self.plane = router.plane
        self.sessions = sessions
        self.links = links
        self.connection_3 = connection_3
        self.connection_5 = connection_5
        self._state = state
        self._judge = judge
        self._is_debugging = is_debugging
        self._make_client = make_client
        self._asked_at = -1.0

    cdef bint connect(self, Outlet outlet, const Cursor *body) except -1:
        cdef Link link = <Link>outlet
        cdef Cursor cursor = body[0]
        cdef Cursor name
        cdef uint8_t level = 0, flags = 0, properties_size = 0
        cdef uint16_t keep_alive_s = 0
        cdef Welcome welcome
        cdef Session session
        cdef str client_id
        cdef bytes connack
        if not take_prefixed(&cursor, &name) or left(&name) != 4 or memcmp(name.at, b"MQTT", 4) != 0 \
                or not take_u8(&cursor, &level) or level < 4 or level > 5 \
                or not take_u8(&cursor, &flags) or flags != CLEAN_START or not take_u16(&cursor, &keep_alive_s):
            return False
        if level == 5 and (not take_u8(&cursor, &properties_size) or properties_size):
            return False
        if not take_prefixed(&cursor, &name) or left(&name) == 0 or left(&cursor) \
                or check_utf8(name.at, left(&name)) != UTF8_OK:
            return False
        client_id = PyUnicode_DecodeUTF8(<const char *>name.at, left(&name), "strict")
        if client_id in self.sessions:
            return False
        if self._state.is_stopping or self._is_heard():
            return False
        if link.origin is not self._origin or self._state.settings is not self._settings \
                or self.plane.journal is not self._journal or not self._has_judged:
            self._welcome = self._judge(link)
            self._origin = link.origin
            self._settings = self._state.settings
            self._journal = self.plane.journal
            self._has_judged = True
        welcome = self._welcome
        if welcome is None:
            return False
        if welcome.sessions_max and len(self.sessions) >= welcome.sessions_max:
            return False
        if welcome.keep_alive_max_s and not 0 < keep_alive_s <= welcome.keep_alive_max_s:
            return False
        session = Session.__new__(Session)          # [MQTT-3.1.2-6]
        session.set_up(self.plane, client_id)
        session.is_plain = True
        self.sessions[client_id] = session
        try:
            link.durability = welcome.durability
            link.connection = self.connection_5 if level == 5 else self.connection_3
            connack = welcome.connack_5 if level == 5 else welcome.connack_3
            memcpy(link.room(PyBytes_GET_SIZE(connack)), PyBytes_AS_STRING(connack), PyBytes_GET_SIZE(connack))
            self.plane.counters.packets_sent[CONNACK] += 1      # [MQTT-3.2.0-1] before anything that is delivered
            link.start(session, level, keep_alive_s, RECEIVE_MAXIMUM_DEFAULT, NO_PACKET_MAX, 0)
        except BaseException:
            if session.outlet is None:
                del self.sessions[client_id]    # nobody would end it
            raise
        return True

    cdef bint packet(self, Outlet outlet, uint8_t first, const Cursor *body) except -1:
        cdef Link link = <Link>outlet
        cdef bint has_properties = link.connection is self.connection_5
        if link.state != LINK_OPEN or not (has_properties or link.connection is self.connection_3):
            return False
        if first >> 4 == SUBSCRIBE:
            return self._subscribe(link, body[0], has_properties)
        if first >> 4 == DISCONNECT and body.at == body.end:
            return self._disconnect(link)
        return False

    cdef bint _subscribe(self, Link link, Cursor body, bint has_properties) except -1:
        cdef Session session = link.session
        cdef Cursor filters[FILTERS_MAX]
        cdef uint8_t qos[FILTERS_MAX]
        cdef uint16_t packet_id = 0
        cdef uint8_t properties_size = 0
        cdef int count = 0, i
        cdef bytes topic_filter
        cdef unsigned char *at
        cdef size_t header
        if session.store_id or session.rules is not None:
            return False
        if not take_u16(&body, &packet_id) or packet_id == 0:
            return False
        if has_properties and (not take_u8(&body, &properties_size) or properties_size):
            return False
        while left(&body):
            if count == FILTERS_MAX or not take_prefixed(&body, &filters[count]) or not take_u8(&body, &qos[count]) \
                    or qos[count] > 2 or not _is_ordinary_filter(&filters[count], self.plane.levels_max):
                return False
            count += 1
        if count == 0 or session.subscription_count + count > self.plane.subscriptions_max \
                or session.level_count + <uint64_t>(count * self.plane.levels_max) >= self.plane.filter_levels_max:
            return False
        for i in range(count):
            topic_filter = PyBytes_FromStringAndSize(<const char *>filters[i].at, left(&filters[i]))
            self.router.add_subscription(session, topic_filter, qos[i], 0, 0, None)
        header = 5 if has_properties else 4
        at = link.room(header + count)              # [MQTT-3.8.4-1] [MQTT-3.8.4-2]
        at[0] = SUBACK << 4
        at[1] = <unsigned char>(header + count - 2)
        at[2] = <unsigned char>(packet_id >> 8)
        at[3] = <unsigned char>packet_id
        if has_properties:
            at[4] = 0
        memcpy(at + header, qos, count)             # [MQTT-3.9.3-1]
        self.plane.counters.packets_sent[SUBACK] += 1
        if self.router.retained.count:
            for i in range(count):
                self.router.send_retained(
                    session, PyBytes_FromStringAndSize(<const char *>filters[i].at, left(&filters[i])), qos[i])
        return True

    cdef bint _disconnect(self, Link link) except -1:
        cdef Session session = link.session
        if pending(&link.out) or session.store_id or session.will is not None or session.expiry_interval_s \
                or len(self.links) <= 1 or self._is_heard():
            return False            # the last link of all is waited for, and so is one that has something to read
        refuse_while_deciding(self.plane)
        link._untie(False)
        link.shut()
        link.handler = None
        self.links.discard(link)
        self.plane.deadlines.forget(session)
        self.router.end(session)
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]
        return True

    cdef bint _is_heard(self) except -1:
        """Whether each client is to be logged; asked once for every time of the broker's clock."""
        if self._asked_at != self.plane.now:
            self._asked_at = self.plane.now
            self._is_debugging_now = self._is_debugging(DEBUG)
        return self._is_debugging_now

    cdef object describe(self, Outlet outlet, str client_id):
        cdef Link link = <Link>outlet
        return self._make_client(link, client_id, 5 if link.connection is self.connection_5 else 4)


cdef bint _is_ordinary_filter(const Cursor *text, int levels_max) noexcept:
    """Whether it is a topic filter that every check of ``protocol.filters`` lets through, and no shared subscription."""
    cdef const unsigned char *at = text.at
    cdef Py_ssize_t size = left(text)
    cdef Py_ssize_t i
    cdef int levels = 1
    if size == 0 or check_utf8(at, size) != UTF8_OK:
        return False
    if size >= 6 and memcmp(at, b"$share", 6) == 0:
        return False
    for i in range(size):
        if at[i] == c"/":
            levels += 1
        elif at[i] == c"#":
            # [MQTT-4.7.1-1]
            if i != size - 1 or (i > 0 and at[i - 1] != c"/"):
                return False
        elif at[i] == c"+":
            # [MQTT-4.7.1-2]
            if (i > 0 and at[i - 1] != c"/") or (i < size - 1 and at[i + 1] != c"/"):
                return False
    return levels <= levels_max
