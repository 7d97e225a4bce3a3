"""`POST /login`, `POST /logout`, `GET /whoami` and `POST /subscribe/ticket`."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from potoserver.errors import ProblemError
from potoserver.events import to_json
from potoserver.module.rpc import WireModel
from potoserver.users import User
from potoserver.web.auth import Authenticator
from potoserver.web.body import read_body, validate_body
from potoserver.web.cookies import LoginCookie
from potoserver.web.cors import Origins
from potoserver.web.credentials import DEVELOPMENT_TOKENS
from potoserver.web.keys import USER_ID
from potoserver.web.rate_limit import RateLimiter
from potoserver.web.tickets import FIRST_USE_S, Tickets

MAX_LOGIN_BYTES = 16_384
"""Of a body: anybody may send one, before it is known who it is."""


class LoginRequest(WireModel):
    """The body of `POST /login`."""

    token: str


class LoginHandler:
    """Turns a token into what a browser can send by itself.

    Args:
        authenticator: Tells who asks.
        cookie: Written at login.
        tickets: Handed out.
        limiter: How often a user may ask.
        origins: Tell whose pages may log out.
        development: Whether the development tokens are valid.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        cookie: LoginCookie,
        tickets: Tickets,
        limiter: RateLimiter,
        origins: Origins,
        development: bool,
    ) -> None:
        self._authenticator = authenticator
        self._cookie = cookie
        self._tickets = tickets
        self._limiter = limiter
        self._origins = origins
        self._development = (
            [{"token": token, "user": owner.user} for token, owner in DEVELOPMENT_TOKENS.items()]
            if development
            else []
        )

    async def login(self, request: web.Request) -> web.Response:
        """`{token}` → `{user, name, roles}` and the cookie."""
        self._refuse_foreign(request)
        body = validate_body(LoginRequest, await read_body(request, MAX_LOGIN_BYTES))
        identity = self._authenticator.verify(request, body.token)
        user = identity.user
        request[USER_ID] = user.id
        response = json_response(_described(user))
        self._cookie.write(request, response, identity)
        return response

    async def logout(self, request: web.Request) -> web.Response:
        """Takes the cookie back; 204."""
        self._refuse_foreign(request)
        response = web.Response(status=204)
        self._cookie.clear(request, response)
        return response

    async def whoami(self, request: web.Request) -> web.Response:
        """→ `{user, name, roles, developmentTokens}`; `user` is null for nobody.

        That is no error: a page asks it first of all, and a browser shows each failed request as a fault.
        """
        identity = self._authenticator.find(request)
        described = _described(None if identity is None else identity.user)
        return json_response({**described, "developmentTokens": self._development})

    async def ticket(self, request: web.Request) -> web.Response:
        """→ `{ticket, expiresInS}`, for one event stream of the user who asks."""
        identity = await self._authenticator.identify(request)
        self._limiter.take(identity.user.id)
        return json_response({"ticket": self._tickets.issue(identity), "expiresInS": FIRST_USE_S})

    def _refuse_foreign(self, request: web.Request) -> None:
        """No page of another site logs anybody in or out here."""
        if not self._origins.trusts(request):
            raise ProblemError(403, "A page of another origin can't log in or out here.")


def _described(user: User | None) -> dict[str, Any]:
    if user is None:
        return {"user": None, "name": "", "roles": []}
    return {"user": user.id, "name": user.name, "roles": sorted(user.roles)}


def json_response(value: object, status: int = 200) -> web.Response:
    """A JSON answer, non-ASCII text as it is."""
    return web.Response(text=to_json(value), status=status, content_type="application/json")
