"""What the operations page shows of the server, and does to it."""

from .module import Operations

__all__ = ["Operations"]
