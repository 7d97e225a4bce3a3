"""Who is asking."""

from __future__ import annotations

from aiohttp import hdrs, web

from potoserver.errors import ProblemError
from potoserver.web.cookies import LoginCookie
from potoserver.web.cors import Origins
from potoserver.web.credentials import Identity
from potoserver.web.guesses import Guesses
from potoserver.web.keys import USER_ID
from potoserver.web.tickets import RedeemedTicket, Tickets, last_event_id_of

_REALM = 'Bearer realm="potoserver"'


class Authenticator:
    """Finds out who asks: the Authorization header beats the cookie, and that beats a ticket.

    Args:
        guesses: Verify tokens.
        cookie: Reads the cookie of a login.
        tickets: Take tickets in.
        origins: Tell whose pages may use the cookie.
    """

    def __init__(self, guesses: Guesses, cookie: LoginCookie, tickets: Tickets, origins: Origins) -> None:
        self._guesses = guesses
        self._cookie = cookie
        self._tickets = tickets
        self._origins = origins

    async def identify(self, request: web.Request) -> Identity:
        """Who asks, by header or cookie.

        Raises:
            ProblemError: 401 without a valid proof, 403 for a cookie that another site's page makes use of,
                429 where too many wrong tokens came from.
        """
        identity = self.find(request)
        if identity is None:
            raise unauthorized(given=self._cookie.is_in(request))
        request[USER_ID] = identity.user.id
        return identity

    def find(self, request: web.Request) -> Identity | None:
        """Who asks, by header or cookie; None for nobody, and for a cookie that is not valid any more.

        Raises:
            ProblemError: As `identify`, but for that.
        """
        return self._by_header(request) or self._by_cookie(request)

    async def identify_subscriber(self, request: web.Request) -> tuple[Identity, RedeemedTicket | None]:
        """Who asks for an event stream: by header, by cookie, or by `?ticket=`.

        A cookie that has ended does not stand in a ticket's way: a page can't take it out of the request.

        Raises:
            ProblemError: 401 without a valid proof, 403 for a cookie that another site's page makes use of,
                429 where too many wrong tokens came from.
            UnavailableError: The engine is away, so whether a ticket was used can't be told.
        """
        ticket = request.query.get("ticket")
        identity = self._by_header(request)
        if identity is None and (ticket is None or self._origins.trusts(request)):
            identity = self._by_cookie(request)
        redeemed = None
        if identity is None and ticket is not None:
            found = await self._tickets.redeem(ticket, last_event_id_of(request))
            if found is not None:
                identity, redeemed = found
        if identity is None:
            raise unauthorized(given=ticket is not None or self._cookie.is_in(request))
        request[USER_ID] = identity.user.id
        return identity, redeemed

    def verify(self, request: web.Request, token: str) -> Identity:
        """Who the token that a request brings stands for.

        Raises:
            ProblemError: 401; 429 where too many wrong ones came from.
        """
        identity = self._guesses.verify(request, token)
        if identity is None:
            raise unauthorized(given=True)
        return identity

    def _by_header(self, request: web.Request) -> Identity | None:
        """None without a bearer token. One that is not valid ends the search: nothing else is tried."""
        for header in request.headers.getall(hdrs.AUTHORIZATION, ()):
            scheme, _, token = header.partition(" ")
            if scheme.lower() == "bearer":
                return self.verify(request, token.strip())
        return None

    def _by_cookie(self, request: web.Request) -> Identity | None:
        identity = self._cookie.read(request)
        # SameSite=Strict still lets other ports and sub-domains of the same site through.
        if identity is not None and not self._origins.trusts(request):
            raise ProblemError(403, "The login of this server can't be used by a page of another origin.")
        return identity


def unauthorized(*, given: bool) -> ProblemError:
    """401, as RFC 6750 has it: the error is named only where a token was given."""
    if not given:
        return ProblemError(
            401,
            "Say who you are: send Authorization: Bearer and your token.",
            headers={hdrs.WWW_AUTHENTICATE: _REALM},
        )
    return ProblemError(
        401,
        "The token is not valid, or not any more.",
        headers={hdrs.WWW_AUTHENTICATE: f'{_REALM}, error="invalid_token"'},
    )
