"""What the handlers of one broker work with, in one place."""

from dataclasses import dataclass, field

from noctule.core.state import State
from noctule.handlers.access import Guards
from noctule.handlers.decisions import Decisions
from noctule.handlers.denial_log import DenialLog
from noctule.handlers.fault_log import FaultLog
from noctule.handlers.login_throttle import LoginThrottle
from noctule.handlers.takeover_log import TakeoverLog
from noctule.hooks.table import HookTable


@dataclass(slots=True)
class Means:
    """One for each broker."""

    state: State
    hooks: HookTable
    fault_log: FaultLog
    decisions: Decisions
    denial_log: DenialLog
    takeover_log: TakeoverLog
    guards: Guards
    throttle: LoginThrottle = field(default_factory=LoginThrottle)

    #: How often rules have changed: what was asked before the last time and answered behind it is asked again.
    rule_changes: int = 0


def make_means(state: State, hooks: HookTable) -> Means:
    """For a broker with this state and these plugins."""
    fault_log = FaultLog(state.logger, state.plane.deadlines)
    plane = state.plane
    guards = Guards(state.logger, lambda: plane.now)
    return Means(
        state,
        hooks,
        fault_log,
        Decisions(state, fault_log),
        DenialLog(state.logger),
        TakeoverLog(state.logger),
        guards,
    )
