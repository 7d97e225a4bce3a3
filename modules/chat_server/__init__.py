"""The chat: sessions, dialogs on disk, replies of a model."""

from .module import ChatServerModule

__all__ = ["ChatServerModule"]
