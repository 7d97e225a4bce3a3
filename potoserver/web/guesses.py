"""Wrong tokens, by where they come from: nobody gets to try one after the other."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from aiohttp import web

from potoserver.core import Core
from potoserver.web.client_address import ClientAddresses
from potoserver.web.credentials import Credentials, Identity
from potoserver.web.rate_limit import RateLimiter

WRONG_TOKENS_PER_MINUTE = 30
"""From one address, by `POST /login` and `Authorization: Bearer` together."""
_KNOWN = 65_536
"""How many good tokens are remembered with the address that they came from."""


@dataclass(frozen=True, slots=True)
class _Verified:
    """What came of a look at a good token.

    Attributes:
        identity: For whom it stands.
        at_ms: When that was: wall time, milliseconds since 1970 UTC.
    """

    identity: Identity
    at_ms: int

    def holds(self, now_ms: int) -> bool:
        """Whether another look would come to the same, the keys being the same for the server's life.

        Where the machine's clock was put back, the token may not be valid yet.
        """
        expires_ms = self.identity.expires_ms
        return self.at_ms <= now_ms and (expires_ms is None or now_ms < expires_ms)


class Guesses:
    """Verifies tokens, and stops looking at those of an address that has brought too many wrong ones.

    A right guess must not be told from a wrong one then, so a good token is refused as well, unless it came
    from that address before: whoever was at work there goes on. A token that was signed with our key and has
    expired is no guess.

    What a good token stands for is remembered from its second use on, so who calls often has a signature
    checked twice, and who only connects takes no memory for it.

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
        self._clock = core.clock
        self._known: OrderedDict[bytes, _Verified | None] = OrderedDict()
        """Good tokens, by their hash; None for one that was used once."""
        self._logger = core.logs.get("http")

    def verify(self, request: web.Request, token: str) -> Identity | None:
        """For whom a token stands, or None when it is not valid.

        Raises:
            ProblemError: 429, it is not looked at.
        """
        address = self._addresses.of(request)
        # By hash: the time that a look takes tells nothing about a token, and no token is kept.
        token_hash = hashlib.sha256(f"{address} {token}".encode("utf-8", "surrogateescape")).digest()
        now_ms = self._clock.wall_ms()
        verified = self._known.get(token_hash)
        if verified is not None and verified.holds(now_ms):
            self._known.move_to_end(token_hash)
            return verified.identity
        is_known = token_hash in self._known
        if not is_known:
            self._wrong.check(address)
        identity = self._credentials.verify(token)
        if identity is not None:
            self._known[token_hash] = _Verified(identity, now_ms) if is_known else None
            self._known.move_to_end(token_hash)
            if len(self._known) > _KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.pop(token_hash, None)
            if not self._credentials.has_signed(token):
                self._wrong.take(address)
                self._logger.warning("wrong token", remote=address, path=request.path)
        return identity
