"""Serves the page under ``/`` from the package's own files."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib import resources

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from ..server import Server

#: Everything comes from this origin; inline script and style are refused by the browser.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class StaticFile:
    """One file of the page, read once; answers 304 to a known ETag."""

    def __init__(self, name: str) -> None:
        self.body = resources.files(__package__).joinpath("static", name).read_bytes()
        self.media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:16]}"'

    async def __call__(self, request: Request) -> Response:
        headers = {**HEADERS, "ETag": self.etag}
        if request.headers.get("if-none-match") == self.etag:
            return Response(status_code=304, headers=headers)
        return Response(self.body, media_type=self.media_type, headers=headers)


def routes(server: Server) -> list[BaseRoute]:
    """``/`` and the files it asks for under ``/ui/``."""
    folder = resources.files(__package__).joinpath("static")
    names = sorted(item.name for item in folder.iterdir() if item.is_file())
    page: list[BaseRoute] = [Route("/", StaticFile("index.html").__call__, methods=["GET"])]
    return page + [
        Route(f"/ui/{name}", StaticFile(name).__call__, methods=["GET"]) for name in names
    ]
