"""potoserver: a chat server that keeps people's dialogs."""

from potoserver.clock import Clock, SystemClock, TimerHandle, iso_utc
from potoserver.engine.base import NodeInfo
from potoserver.engine.presence import Cause, Departure, Leaving, Presence, PresenceState
from potoserver.errors import FieldError, ProblemError, UnavailableError
from potoserver.events import Event, EventId
from potoserver.ids import BASE64_16, Ids
from potoserver.module.base import Check, Connection, ModuleContext, ServerModule
from potoserver.module.download import Download
from potoserver.module.nodes import Gathered, Nodes, per_node
from potoserver.module.oversight import (
    AlarmState,
    FailingHook,
    HookTroubles,
    OpenConnection,
    Oversight,
    ParkedHook,
)
from potoserver.module.rates import Rates
from potoserver.module.rpc import Call, Done, WireModel, rpc
from potoserver.module.snapshots import Snapshots
from potoserver.module.wire import Encoded
from potoserver.text import visible
from potoserver.users import User, folder_name

__all__ = [
    "BASE64_16",
    "AlarmState",
    "Call",
    "Cause",
    "Check",
    "Clock",
    "Connection",
    "Departure",
    "Done",
    "Download",
    "Encoded",
    "Event",
    "EventId",
    "FailingHook",
    "FieldError",
    "Gathered",
    "HookTroubles",
    "Ids",
    "Leaving",
    "ModuleContext",
    "NodeInfo",
    "Nodes",
    "OpenConnection",
    "Oversight",
    "ParkedHook",
    "Presence",
    "PresenceState",
    "ProblemError",
    "Rates",
    "ServerModule",
    "Snapshots",
    "SystemClock",
    "TimerHandle",
    "UnavailableError",
    "User",
    "WireModel",
    "folder_name",
    "iso_utc",
    "per_node",
    "rpc",
    "visible",
]
