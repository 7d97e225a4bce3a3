"""The web application: routes, and what stands around them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from potoserver.core import Core
from potoserver.web.auth import Authenticator
from potoserver.web.calls import CallHandler
from potoserver.web.cookies import LoginCookie
from potoserver.web.cors import Origins
from potoserver.web.credentials import Credentials
from potoserver.web.guesses import Guesses
from potoserver.web.health import HealthHandler
from potoserver.web.keys import CORE
from potoserver.web.login import LoginHandler
from potoserver.web.methods import Methods
from potoserver.web.middleware import (
    UNKNOWN_ROUTE,
    add_headers,
    check_expectation,
    cross_origin,
    loopback_only,
    observe,
    send_continue,
)
from potoserver.web.openapi import OpenApiHandler
from potoserver.web.pages import PAGES, STATIC, PageHandler
from potoserver.web.rate_limit import RateLimiter
from potoserver.web.signing import SigningKey
from potoserver.web.subscribe import SubscribeHandler
from potoserver.web.tickets import Tickets


@dataclass(frozen=True, slots=True)
class WebApp:
    """The application, and the handler that has a name of its own.

    Attributes:
        app: Routes and middleware; the core is under the key `CORE`.
        subscribe_handler: Answers `/subscribe`.
    """

    app: web.Application
    subscribe_handler: SubscribeHandler


def create_app(core: Core) -> WebApp:
    """Puts the web layer of a server together. Modules may still be added to the core until the start.

    Raises:
        ValueError: `auth.jwt_public_key_file` can't be used, or the signing key is damaged.
        OSError: The signing key can't be read or made.
    """
    settings = core.settings
    key = SigningKey.load(settings.data_dir, core.logs.get("auth"))
    credentials = Credentials(settings, core.clock, key, core.logs.get("auth"))
    origins = Origins(settings.cors.origins)
    cookie = LoginCookie(credentials, key, core.clock, settings.auth.login_lifetime_s)
    tickets = Tickets(core, credentials, key)
    authenticator = Authenticator(Guesses(core, credentials), cookie, tickets, origins)
    limiter = RateLimiter(settings.limits.calls_per_minute, core.clock, core.metrics)
    methods = Methods(core.modules)
    calls = CallHandler(core, authenticator, limiter, methods)
    health = HealthHandler(core)
    login = LoginHandler(authenticator, cookie, tickets, limiter, origins, settings.development_tokens)
    subscribe = SubscribeHandler(core, authenticator, tickets)
    pages = PageHandler()

    middlewares = [observe(core), check_expectation]
    if settings.development_tokens:
        middlewares.append(loopback_only)
    middlewares.append(cross_origin(origins))
    app = web.Application(middlewares=middlewares, client_max_size=settings.limits.body_bytes)
    app[CORE] = core
    app.on_response_prepare.append(partial(add_headers, origins=origins))
    _add(app, hdrs.METH_GET, "/subscribe", subscribe.subscribe)
    _add(app, hdrs.METH_POST, "/subscribe/ack", subscribe.acknowledge)
    _add(app, hdrs.METH_POST, "/subscribe/ticket", login.ticket)
    _add(app, hdrs.METH_POST, "/login", login.login)
    _add(app, hdrs.METH_POST, "/logout", login.logout)
    _add(app, hdrs.METH_GET, "/whoami", login.whoami, head=True)
    _add(app, hdrs.METH_GET, "/health", health.health, head=True)
    _add(app, hdrs.METH_GET, "/health/live", health.live, head=True)
    _add(app, hdrs.METH_GET, "/health/ready", health.ready, head=True)
    _add(app, hdrs.METH_GET, "/metrics", health.metrics, head=True)
    _add(app, hdrs.METH_GET, "/openapi.json", OpenApiHandler(methods).describe, head=True)
    for page in PAGES:
        _add(app, hdrs.METH_GET, page.path, pages.page(page), head=True)
    _add(app, hdrs.METH_GET, f"{STATIC}/{{name}}", pages.file, head=True)
    app.router.add_route("*", "/{module}/{method}", calls.handle, expect_handler=send_continue)
    # Where no route matched, aiohttp would answer some requests before any middleware sees them.
    nothing = app.router.add_resource(r"/{path:[\s\S]*}", name=UNKNOWN_ROUTE)
    nothing.add_route("*", _not_found, expect_handler=send_continue)
    return WebApp(app, subscribe)


async def _not_found(_request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotFound


def _add(app: web.Application, method: str, path: str, handler: Handler, *, head: bool = False) -> None:
    """Adds a route; any other method at its address is 405, also where the address looks like a call's."""
    allowed = [method, hdrs.METH_HEAD] if head else [method]

    async def refuse(request: web.Request) -> web.StreamResponse:
        raise web.HTTPMethodNotAllowed(request.method, allowed)

    resource = app.router.add_resource(path)
    for each in allowed:
        resource.add_route(each, handler, expect_handler=send_continue)
    resource.add_route("*", refuse, expect_handler=send_continue)
