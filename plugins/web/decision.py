"""What a server says about a client or a topic: read from status and body of its answer."""

from dataclasses import dataclass
from enum import Enum
from typing import Final

from noctule.api import AccessRules
from noctule.plugins.web.client import WebAnswer, WebError
from noctule.plugins.web.json_rules import read_bool, read_qos, read_rules
from noctule.plugins.web.strict_json import is_text, parse_object

#: Statuses of 400 to 499 that say nothing about the client: come later.
_NOT_NOW: Final = frozenset((408, 425, 429))

#: Statuses of a server, or of the proxy before it, that is not there for anybody.
_DOWN: Final = frozenset((429, 502, 503, 504))


class Outcome(Enum):
    """The answer in a word, as it is written."""

    ALLOW = "allow"
    DENY = "deny"

    #: The server does not know the client: the next plugin is asked.
    IGNORE = "ignore"


class AnswerForm(Enum):
    """Where the answer is."""

    #: In the status; a body that is a JSON object or one of the known words says more.
    AUTO = "auto"

    #: In the status alone.
    STATUS = "status"

    #: In a JSON object; 200 without one is no answer.
    JSON = "json"

    #: In one word; 200 with anything else is no answer.
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Decision:
    """An answer that was understood."""

    outcome: Outcome
    user_name: str | None = None
    rules: AccessRules | None = None

    #: Seconds since 1970.
    expires_at: float | None = None

    remember_s: float | None = None
    qos_max: int = 2
    retain: bool = True


_WORDS: Final = {
    b"ok": Outcome.ALLOW,
    b"allow": Outcome.ALLOW,
    b"deny": Outcome.DENY,
    b"ignore": Outcome.IGNORE,
}


def read_decision(answer: WebAnswer, form: AnswerForm) -> Decision:
    """What the answer means. WebError, the server's fault, for one that is not understood: never a yes."""
    if 400 <= answer.status < 500 and answer.status not in _NOT_NOW:
        return Decision(Outcome.DENY)
    if answer.status not in (200, 204):
        raise WebError(f"status {answer.status}", is_down=answer.status in _DOWN)
    if form is AnswerForm.STATUS:
        return Decision(Outcome.ALLOW)
    body = answer.body.strip()
    is_json = answer.media_type == "application/json" or answer.media_type.endswith("+json")
    # Frameworks label what they send text/html unless told otherwise: a "deny" in there is still one.
    looks_like_json = body[:1] in (b"{", b"[", b'"')
    if form is AnswerForm.JSON or (form is AnswerForm.AUTO and (looks_like_json or (is_json and body))):
        try:
            return _from_members(parse_object(body))
        except ValueError as error:
            raise WebError(f"the answer cannot be used: {error}") from None
    word = _WORDS.get(body.lower())
    if word is not None:
        return Decision(word)
    if form is AnswerForm.TEXT:
        raise WebError('the answer is none of "ok", "allow", "deny" and "ignore"')
    return Decision(Outcome.ALLOW)


def _from_members(members: dict[str, object]) -> Decision:
    """ValueError for what is not understood."""
    if "acl" in members:
        raise ValueError('"acl" is not read: "rules" is')
    rules = members.get("rules")
    return Decision(
        _outcome(members),
        user_name=_user_name(members.get("user_name")),
        rules=None if rules is None else AccessRules(read_rules(rules, "rules")),
        expires_at=_number(members, "expires_at" if "expires_at" in members else "expire_at"),
        remember_s=_number(members, "remember_s"),
        qos_max=read_qos(members),
        retain=read_bool(members, "retain", default=True),
    )


def _outcome(members: dict[str, object]) -> Outcome:
    if "result" in members:
        for outcome in Outcome:
            if members["result"] == outcome.value:
                return outcome
        raise ValueError('"result" is none of "allow", "deny" and "ignore"')
    # The JSON mode of mosquitto-go-auth: {"Ok": true, "Error": ""}.
    for name in ("Ok", "ok"):
        if name in members:
            return Outcome.ALLOW if read_bool(members, name, default=False) else Outcome.DENY
    raise ValueError('it has no "result"')


def _user_name(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not is_text(value):
        raise ValueError('"user_name" is not a text, or empty')
    return value


def _number(members: dict[str, object], name: str) -> float | None:
    value = members.get(name)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 1e15:
        raise ValueError(f'"{name}" is not a number of seconds')
    return float(value)
