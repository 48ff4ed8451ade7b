"""All that a plugin may import from us.

``hookimpl`` marks the functions of a plugin that implement a hook; ``noctule.hooks.specs`` has them all.
"""

from typing import Final

import pluggy
from noctule._speedups.message import Message
from noctule.auth.login_cache import LoginCache
from noctule.auth.password_file import PasswordEntry, PasswordFileError, Passwords, read_passwords
from noctule.auth.password_file_changes import replace_hash
from noctule.auth.password_hashes import (
    ARGON2_LANES_MAX,
    ARGON2_MEMORY_MAX_KIB,
    ARGON2_WORK_MAX_KIB,
    Argon2Parameters,
    HashingError,
    PasswordHash,
    is_weaker,
    make_hash,
)
from noctule.auth.unknown_users import UnknownUsers
from noctule.config.options import Duration, Option, Secret, Size
from noctule.config.problems import ConfigError, KeyPath, Place, Positions, Problem, did_you_mean
from noctule.config.settings import ListenerSettings, Settings
from noctule.config.table_files import read_table_file
from noctule.core.access import Access, Action, PublishRight, Rule
from noctule.core.access_rules import AccessRules, check_rule
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
from noctule.hooks.transports import ServeStream, Transport
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
    "ARGON2_LANES_MAX",
    "ARGON2_MEMORY_MAX_KIB",
    "ARGON2_WORK_MAX_KIB",
    "Access",
    "AccessRules",
    "Action",
    "Allow",
    "Argon2Parameters",
    "AuthContinue",
    "AuthRefused",
    "AuthStep",
    "AuthSuccess",
    "AuthenticationMethod",
    "Broker",
    "Certificate",
    "Claimant",
    "Client",
    "ConfigError",
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
    "HashingError",
    "KeyPath",
    "ListenerSettings",
    "LoginCache",
    "MemoryStore",
    "Message",
    "Metrics",
    "Operation",
    "Option",
    "PasswordEntry",
    "PasswordFileError",
    "PasswordHash",
    "Passwords",
    "Place",
    "PluginError",
    "Positions",
    "Problem",
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
    "ServeStream",
    "Service",
    "Settings",
    "Size",
    "Store",
    "StoreError",
    "StoreFailedError",
    "StoreFullError",
    "StoreReader",
    "Subscription",
    "Transport",
    "UnknownUsers",
    "Verdict",
    "check_rule",
    "did_you_mean",
    "hookimpl",
    "is_weaker",
    "make_hash",
    "read_passwords",
    "read_table_file",
    "replace_hash",
]
