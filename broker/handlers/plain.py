"""Which clients are plain: nothing about them is to be decided, and the data plane handles them by itself."""

from typing import Final

from noctule._speedups.link import Link
from noctule._speedups.plain import PlainClients, Welcome
from noctule.config.settings import ListenerSettings, Settings
from noctule.core.clients import Client
from noctule.core.origin import Origin
from noctule.handlers.admission import acknowledgement_mode, connack_told, origin_of
from noctule.handlers.connection import Connection
from noctule.handlers.means import Means
from noctule.protocol.connack import Connack, encode_connack
from noctule.protocol.versions import ProtocolVersion

#: Of a listener that does not limit it.
_QOS_MAX: Final = 2

#: Listeners that are remembered; with more, they are judged again.
_LISTENERS_MAX: Final = 64


def plain_clients(means: Means) -> PlainClients | None:
    """What handles plain clients; None where plugins have a say in them, or want to hear of each."""
    hooks, state = means.hooks, means.state
    watchers = state.watchers
    watching = (
        watchers.client_connected,
        watchers.client_disconnected,
        watchers.session_created,
        watchers.session_ended,
        watchers.subscribed,
    )
    if hooks.load_access or hooks.authorize or hooks.rewrite_subscription or any(watching):
        return None
    return PlainClients(
        state.router,
        state.sessions.by_client_id,
        state.links,
        connection_3=_connection(ProtocolVersion.V3_1_1),
        connection_5=_connection(ProtocolVersion.V5),
        state=state,
        judge=_Judge(means).welcome,
        is_debugging=state.logger.isEnabledFor,
        make_client=lambda link, client_id, version: _client(means, link, client_id, version),
    )


def _connection(version: ProtocolVersion) -> Connection:
    return Connection(version, 0, request_problem_information=True, is_unproven=True)


def _client(means: Means, link: Link, client_id: str, version: int) -> Client:
    origin = origin_of(link, means.state)
    return Client(
        client_id=client_id,
        user_name=None,
        address=origin.address,
        peer=link.peer,
        listener=origin.listener.name,
        protocol_version=version,
        certificate=origin.certificate,
    )


class _Judge:
    """Says how plain clients are let in, and remembers it for each listener."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._settings: Settings | None = None
        self._journal: object = None
        self._known: dict[int, tuple[ListenerSettings, Welcome | None]] = {}

    def welcome(self, link: Link) -> Welcome | None:
        """How the client of this link is let in, should it be a plain one; None: that is for the handlers to say."""
        state = self._means.state
        origin = origin_of(link, state)
        if origin.user_name is not None:
            return None
        if (
            state.settings is not self._settings
            or state.plane.journal is not self._journal
            or len(self._known) >= _LISTENERS_MAX
        ):
            self._settings, self._journal = state.settings, state.plane.journal
            self._known.clear()
        # The listener is kept with what is known of it, so that no other can have its number.
        known = self._known.get(id(origin.listener))
        if known is None:
            known = self._known[id(origin.listener)] = (origin.listener, self._find_welcome(origin))
        return known[1]

    def _find_welcome(self, origin: Origin) -> Welcome | None:
        state = self._means.state
        listener = origin.listener
        if listener.mount_point or listener.limits.max_qos < _QOS_MAX or listener.limits.packet_max_bytes is not None:
            return None
        if state.settings.client_ids.prefixes or not self._means.hooks.admit_anonymous(state.settings, listener):
            return None
        connack = connack_told(Connack(), state.settings.limits, state.settings.limits.packet_max_bytes)
        return Welcome(
            encode_connack(connack, ProtocolVersion.V3_1_1),
            encode_connack(connack, ProtocolVersion.V5),
            acknowledgement_mode(origin, state),
            state.settings.keep_alive_max_s,
            state.settings.limits.sessions_max,
        )
