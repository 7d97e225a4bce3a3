"""What handlers and middleware note on a request for each other."""

from __future__ import annotations

from aiohttp import web

from potoserver.core import Core

CORE = web.AppKey("core", Core)
"""The parts of the server, on the application."""

REQUEST_ID = web.RequestKey("request_id", str)
"""The request's id; there before any handler runs."""

USER_ID = web.RequestKey("user_id", str)
"""Who asked, once that is known; for the log."""

ROUTE = web.RequestKey("route", str)
"""The route's name in metrics, where a handler knows it better than the router. From a closed set."""

ENDS_WITH_CALLER = web.RequestKey("ends_with_caller", bool)
"""Whether the handler is to be cancelled when the caller goes; without it, it runs to its end."""
