"""Wrong tokens, by where they come from: nobody gets to try one after the other."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from aiohttp import web

from potoserver.core import Core
from potoserver.web.client_address import ClientAddresses
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.rate_limit import RateLimiter

WRONG_TOKENS_PER_MINUTE = 30
"""From one address, by `POST /login` and `Authorization: Bearer` together."""
_KNOWN = 65_536
"""How many good tokens are remembered with the address that they came from."""


class Guesses:
    """Verifies tokens, and stops looking at those of an address that has brought too many wrong ones.

    A right guess must not be told from a wrong one then, so a good token is refused as well, unless it came
    from that address before: whoever was at work there goes on. A token that was signed with our key and has
    expired is no guess.

    Args:
        core: The parts of the server.
        credentials: Verify.
    """

    def __init__(self, core: Core, credentials: Credentials) -> None:
        self._credentials = credentials
        self._addresses = ClientAddresses(core.settings.trusted_proxies)
        self._wrong = RateLimiter(
            WRONG_TOKENS_PER_MINUTE,
            core.clock,
            core.metrics,
            "Too many wrong tokens came from your address; wait a little.",
        )
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._logger = core.logs.get("http")

    def verify(self, request: web.Request, token: str) -> Identity | None:
        """For whom a token stands, or None when it is not valid.

        Raises:
            ProblemError: 429, it is not looked at.
        """
        address = self._addresses.of(request)
        known = hashlib.sha256(f"{address} {token}".encode("utf-8", "surrogateescape")).digest()
        if known not in self._known:
            self._wrong.check(address)
        identity = self._credentials.verify(token)
        if identity is not None:
            self._known[known] = None
            self._known.move_to_end(known)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.pop(known, None)
            if not self._credentials.has_signed(token):
                self._wrong.take(address)
                self._logger.warning("wrong token", remote=address, path=request.path)
        return identity
