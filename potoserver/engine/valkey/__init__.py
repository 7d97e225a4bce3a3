"""The engine on Valkey or Redis, for several nodes. Needs the extra `cluster`."""

from potoserver.engine.valkey.engine import ValkeyEngine

__all__ = ["ValkeyEngine"]
