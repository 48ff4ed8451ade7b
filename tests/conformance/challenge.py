"""Methods of enhanced authentication for the tests: one asks a riddle, one thinks for a second, one for good."""

import trio
from noctule.core.authentication import AuthContinue, AuthRefused, AuthStep, AuthSuccess, Claimant

RIDDLE, SLOW, SILENT = "RIDDLE", "SLOW", "SILENT"

QUESTION, ANSWER, WELCOME = b"what eats mosquitoes?", b"bats", b"come in"


class Riddle:
    """Asks once, and lets in whoever knows the answer, under the user name of CONNECT."""

    name = RIDDLE

    def start(self, claimant: Claimant) -> "RiddleExchange":
        return RiddleExchange(claimant.user_name or "somebody")


class RiddleExchange:
    """One riddle."""

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self._has_asked = False

    def step(self, data: bytes | None) -> AuthStep:
        if not self._has_asked:
            self._has_asked = True
            return AuthContinue(QUESTION)
        if data == ANSWER:
            return AuthSuccess(self._identity, WELCOME)
        return AuthRefused()


class Slow:
    """Lets everybody in, a second later, without a question."""

    name = SLOW

    def start(self, claimant: Claimant) -> "SlowExchange":
        return SlowExchange()


class SlowExchange:
    """One second of thinking."""

    async def step(self, data: bytes | None) -> AuthStep:
        await trio.sleep(1)
        return AuthSuccess("somebody")


class Silent:
    """Never answers."""

    name = SILENT

    def start(self, claimant: Claimant) -> "SilentExchange":
        return SilentExchange()


class SilentExchange:
    """Waits for good."""

    async def step(self, data: bytes | None) -> AuthStep:
        await trio.sleep_forever()
        return AuthRefused()


METHODS = (Riddle(), Slow(), Silent())
