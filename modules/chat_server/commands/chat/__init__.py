"""`chat`: a dialog in the terminal."""

from .command import chat

__all__ = ["chat"]
