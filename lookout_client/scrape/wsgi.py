"""The scrape as a WSGI application, to be mounted at ``/metrics``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..default import REGISTRY
from ..registry import Registry
from .negotiation import Exposition

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def wsgi_app(registry: Registry | None = None) -> WSGIApplication:
    """A WSGI application that answers every request with the metrics of ``registry``."""
    exposition = Exposition(registry if registry is not None else REGISTRY)

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answer = exposition.answer(
            environ.get("HTTP_ACCEPT", ""), environ.get("HTTP_ACCEPT_ENCODING", "")
        )
        start_response("200 OK", answer.headers)
        return [] if environ.get("REQUEST_METHOD") == "HEAD" else [answer.body]

    return app
