"""All that a plugin may import from us.

``hookimpl`` marks the functions of a plugin that implement a hook; ``noctule.hooks.specs`` has them all.
"""

from typing import Final

import pluggy
from noctule._speedups.message import Message
from noctule.config.options import Duration, Option, Secret, Size
from noctule.config.settings import ListenerSettings, Settings
from noctule.core.access import Access, Action, PublishRight, Rule
from noctule.core.authentication import (
    AuthContinue,
    AuthenticationMethod,
    AuthRefused,
    AuthStep,
    AuthSuccess,
    Claimant,
    Exchange,
)
from noctule.core.clients import Client
from noctule.core.origin import Certificate
from noctule.hooks.answers import (
    Allow,
    Credentials,
    Deny,
    Drop,
    PluginError,
    Service,
    Subscription,
    Verdict,
)
from noctule.hooks.broker import Broker
from noctule.hooks.metrics import Counter, Gauge, Metrics
from noctule.hooks.specs import PROJECT
from noctule.protocol.reason_codes import ReasonCode
from noctule.storage.memory import MemoryStore
from noctule.storage.operations import (
    DropMessage,
    DropQueued,
    DropReceived,
    DropRetained,
    DropSession,
    DropSubscription,
    DropWill,
    Operation,
    PutMessage,
    PutQueued,
    PutReceived,
    PutRetained,
    PutSession,
    PutSubscription,
    PutWill,
)
from noctule.storage.store import Store, StoreError, StoreFailedError, StoreFullError, StoreReader

#: Marks a function that implements the hook of its name.
hookimpl: Final = pluggy.HookimplMarker(PROJECT)

__all__ = [
    "Access",
    "Action",
    "Allow",
    "AuthContinue",
    "AuthRefused",
    "AuthStep",
    "AuthSuccess",
    "AuthenticationMethod",
    "Broker",
    "Certificate",
    "Claimant",
    "Client",
    "Counter",
    "Credentials",
    "Deny",
    "Drop",
    "DropMessage",
    "DropQueued",
    "DropReceived",
    "DropRetained",
    "DropSession",
    "DropSubscription",
    "DropWill",
    "Duration",
    "Exchange",
    "Gauge",
    "ListenerSettings",
    "MemoryStore",
    "Message",
    "Metrics",
    "Operation",
    "Option",
    "PluginError",
    "PublishRight",
    "PutMessage",
    "PutQueued",
    "PutReceived",
    "PutRetained",
    "PutSession",
    "PutSubscription",
    "PutWill",
    "ReasonCode",
    "Rule",
    "Secret",
    "Service",
    "Settings",
    "Size",
    "Store",
    "StoreError",
    "StoreFailedError",
    "StoreFullError",
    "StoreReader",
    "Subscription",
    "Verdict",
    "hookimpl",
]
