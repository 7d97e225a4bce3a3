"""The server's own pages, and the scripts, styles and pictures that they are made of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePath

from aiohttp import hdrs, web
from aiohttp.helpers import ETag
from aiohttp.typedefs import Handler

STATIC = "/static"
"""Below it stand the files of the pages, each by its name."""

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)
"""What a page may do: run and ask this server's own, and nothing that stands in the page itself. Text never
becomes HTML: where a browser has Trusted Types, `innerHTML` and its like are switched off."""

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    # Not `no-referrer`: under it some browsers send `Origin: null` to our own methods.
    "Referrer-Policy": "same-origin",
    # Kept, and asked for again each time (304): never a page with the scripts of another version.
    hdrs.CACHE_CONTROL: "no-cache",
}
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the server.

    Attributes:
        path: Its address.
        file: Its file in `static/`.
        summary: What it is, for the description.
    """

    path: str
    file: str
    summary: str


PAGES = (
    Page("/", "chat.html", "The chat page."),
    Page("/admin", "admin.html", "The operations page."),
    Page("/docs", "docs.html", "The methods of all modules, to read."),
)
"""All of them."""


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    content_type: str
    etag: str


class PageHandler:
    """Answers with files of the package. They are read once, at the start; no path is made from a request."""

    def __init__(self) -> None:
        files = (file for file in (resources.files(__package__) / "static").iterdir() if file.is_file())
        self._files = {file.name: _read(file.name, file.read_bytes()) for file in files}

    def page(self, page: Page) -> Handler:
        """What answers at a page's address."""
        file = self._files[page.file]

        async def handler(request: web.Request) -> web.StreamResponse:
            return _answer(request, file)

        return handler

    async def file(self, request: web.Request) -> web.Response:
        """One of the files that the pages are made of."""
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound
        return _answer(request, file)


def _read(name: str, body: bytes) -> _File:
    content_type = _TYPES[PurePath(name).suffix]
    return _File(body, content_type, hashlib.sha256(body).hexdigest()[:32])


def _answer(request: web.Request, file: _File) -> web.Response:
    headers = dict(_HEADERS)
    known = request.if_none_match or ()
    if any(each.value in (file.etag, "*") for each in known):
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(
            body=file.body, headers=headers, content_type=file.content_type, charset="utf-8"
        )
    response.etag = ETag(file.etag)
    return response
