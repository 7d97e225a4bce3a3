"""PotoClient: what Python programs talk to a potoserver with. It needs nothing of the server's."""

from potoserver.client.backoff import Backoff
from potoserver.client.calls import Method, Module
from potoserver.client.client import PotoClient
from potoserver.client.download import Download
from potoserver.client.errors import (
    AnswerError,
    BadField,
    ClientError,
    ConflictError,
    ForbiddenError,
    FullError,
    InvalidError,
    ModelFailedError,
    NotFoundError,
    NotSignedInError,
    ProtocolError,
    ServerFaultError,
    TooManyError,
    UnavailableError,
    UnreachableError,
)
from potoserver.client.events import Connected, Disconnected, StreamEvent
from potoserver.client.repeat import RepeatPolicy
from potoserver.client.reply import Reply
from potoserver.client.subscription import Subscription

__all__ = [
    "AnswerError",
    "Backoff",
    "BadField",
    "ClientError",
    "ConflictError",
    "Connected",
    "Disconnected",
    "Download",
    "ForbiddenError",
    "FullError",
    "InvalidError",
    "Method",
    "ModelFailedError",
    "Module",
    "NotFoundError",
    "NotSignedInError",
    "PotoClient",
    "ProtocolError",
    "RepeatPolicy",
    "Reply",
    "ServerFaultError",
    "StreamEvent",
    "Subscription",
    "TooManyError",
    "UnavailableError",
    "UnreachableError",
]
