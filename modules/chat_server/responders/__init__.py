"""What answers: the responders, and the choice among them."""

from .base import Chunk, Responder, ResponderError, ResponderSetupError
from .choose import create_responder

__all__ = ["Chunk", "Responder", "ResponderError", "ResponderSetupError", "create_responder"]
