"""A server as a process of its own, for the tests that are hostile to it."""

from __future__ import annotations

from tests.process.conftest import http, start_server

__all__ = ["http", "start_server"]
