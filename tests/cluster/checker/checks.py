"""All checks of a history."""

from __future__ import annotations

from tests.cluster.checker.events import check_events
from tests.cluster.checker.faults import check_faults
from tests.cluster.checker.history import History
from tests.cluster.checker.messages import check_messages
from tests.cluster.checker.sessions import check_sessions
from tests.cluster.checker.untold import check_untold
from tests.cluster.checker.violation import Violation


def check(history: History) -> list[Violation]:
    """Every promise that was broken, in the order of time."""
    checks = (check_messages, check_sessions, check_events, check_untold, check_faults)
    found = {violation for each in checks for violation in each(history)}
    return sorted(found, key=lambda each: (each.at_ms, each.promise, each.user, each.what))
